"""Benchmarks by name, each with its items, how the model is asked, and what figures come of it.

All data are read and checked before any model is loaded. Results come one by one, so that what is done is kept.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from iteralign import prompts, redteam
from iteralign.budget import prices
from iteralign.budget.limits import BudgetSpent
from iteralign.config.schema import Config
from iteralign.errors import UserError, unknown
from iteralign.evaluate import choices, harness, judges
from iteralign.evaluate.items import READERS, Items
from iteralign.evaluate.judges import Panel
from iteralign.evaluate.results import Figure, Record, Result
from iteralign.evaluate.subject import Subject
from iteralign.record.codec import digest
from iteralign.run import build
from iteralign.types import Sampling

UNDECIDED = 0.1
"""The share of items that a judge may leave undecided, unless told otherwise (ours)."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to evaluate.

    data: benchmark to file, folder or source. judging: whose judges, limits and prices count (`judges.config`).
    max_undecided: share that the judges may leave open. limit: only the first so many items of each set. max_tokens: of
    an answer. connections: calls to a judge at once. fields: benchmark to the column of its questions.
    """

    benchmarks: tuple[str, ...]
    data: Mapping[str, str] = field(default_factory=dict)
    judging: Config = field(default_factory=Config)
    max_undecided: float = UNDECIDED
    limit: int | None = None
    max_tokens: int = 500
    connections: int = 16
    fields: Mapping[str, str] = field(default_factory=dict)


Found = tuple[Sequence[Figure], Sequence[Record], Sequence[str]]
"""(figures, records, notes) of a benchmark."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """judged: a judge reads the answers. answers: the model answers in words of its own. graded: the judge does more
    than tell harm, which a guard cannot."""

    about: str
    run: Callable[["Desk", Any], Found]
    judged: bool = False
    answers: bool = False
    graded: bool = False


class Desk:
    """Who is asked: the subject, and the judges, opened when the first benchmark needs them."""

    def __init__(self, subject: Subject, request: Request) -> None:
        self.subject, self.request = subject, request
        self._open = ExitStack()

    @cached_property
    def panel(self) -> Panel:
        return self._open.enter_context(judges.opened(self.request.judging, self.request.connections))

    @cached_property
    def wording(self) -> str:
        """A digest of what the judges are asked."""
        measure = prompts.load("measure")
        return digest([measure, prompts.load("evaluate"), build.judging(self.request.judging, measure)])[:16]

    @property
    def sampling(self) -> Sampling:
        return Sampling(max_tokens=self.request.max_tokens)

    def identity(self, name: str, items: Items) -> dict[str, Any]:
        """All that decides a result: who is evaluated, on what, by whom; and the length of answers and the wording of
        the judges' questions. These are fields of `Result`."""
        benchmark = BENCHMARKS[name]
        asked: dict[str, Any] = {}
        if benchmark.answers:
            asked["max_tokens"] = self.request.max_tokens
        if benchmark.judged:
            asked["prompts"] = self.wording
        judge = judges.name(self.request.judging) if benchmark.judged else None
        return {"subject": self.subject.facts, "source": items.source, "judge": judge, "asked": asked}

    def close(self) -> None:
        self._open.close()
        self.subject.close()


def named(names: Sequence[str], subject: Subject) -> tuple[str, ...]:
    """The benchmarks of these names; `all` is all that apply: no comparison of a base with itself, and no harness
    that is not installed. Raises UserError."""
    wanted = tuple(dict.fromkeys(n.strip() for n in names if n.strip()))
    if not wanted:
        raise UserError(f"--benchmarks: names none; allowed: {', '.join(BENCHMARKS)}, or all")
    for name in wanted:
        if name not in (*BENCHMARKS, "all"):
            raise unknown("--benchmarks", name, (*BENCHMARKS, "all"))
    if "all" not in wanted:
        return wanted
    absent = {"helpfulness"} if subject.checkpoint == subject.base else set()
    return tuple(n for n in BENCHMARKS if n not in absent and (n != "truthfulqa-mc" or harness.installed()))


def evaluate(
    subject: Subject,
    request: Request,
    on_start: Callable[[str, int], None] = lambda *_: None,
    done: Mapping[str, Result] | None = None,
) -> Iterator[Result]:
    """Yield one Result after another, in the order asked for.

    Args:
        subject: who is evaluated. It is closed at the end.
        request: on what, and by whom.
        on_start: called with each benchmark that is run, and its number of items.
        done: results on record; one of the same subject, items and judges is given again and nothing is asked.

    Raises:
        UserError, WorldError: results already given stay valid.
    """
    loaded = {name: _items(name, subject, request) for name in request.benchmarks}
    for name in request.benchmarks:
        if BENCHMARKS[name].graded and all(m.guard for m in prices.judges(request.judging).values()):
            raise UserError(
                f"{name}: a guard model says only whether an answer is harmful; give a --judge that is no guard as well"
            )
    desk = Desk(subject, request)
    try:
        for name, items in loaded.items():
            kept, identity = (done or {}).get(name), desk.identity(name, items)
            if kept is None or not _same(kept, identity):
                on_start(name, len(items.values))
                kept = _result(name, desk, items, identity)
            elif BENCHMARKS[name].judged:
                judges.refuse(name, str(kept.judge), kept.records, request.max_undecided)
            yield kept
    finally:
        desk.close()


def _items(name: str, subject: Subject, request: Request) -> Items:
    if name == "truthfulqa-mc":
        harness.require()
    if name == "helpfulness" and subject.checkpoint == subject.base:
        raise UserError(
            "helpfulness: compares a model with its base, and this is a base: give --adapter, or a finished run"
        )
    return READERS[name](request.data.get(name), subject.is_organism, request.limit, request.fields.get(name))


def _same(kept: Result, identity: Mapping[str, Any]) -> bool:
    """Whether running the benchmark again would ask what that result was asked. The same items may lie elsewhere."""
    one, other = kept.source.get("sha256"), identity["source"]["sha256"]
    return one == other and all(getattr(kept, k) == identity[k] for k in ("subject", "judge", "asked"))


def _result(name: str, desk: Desk, items: Items, identity: Mapping[str, Any]) -> Result:
    judged = BENCHMARKS[name].judged
    if judged:
        desk.panel.afford(name, items.values)
    try:
        figures, records, notes = BENCHMARKS[name].run(desk, items.values)
    except BudgetSpent as spent:
        raise judges.stopped(name, spent) from None
    if judged:
        judges.refuse(name, identity["judge"], records, desk.request.max_undecided)
        undecided = f"undecided: {sum(r.failed is None for r in records)} of {len(records)}"
        notes = [*notes, undecided, *judges.unanimity(records)]
    return Result(
        name, figures=tuple(figures), records=tuple(records), notes=(*items.notes, *notes), **identity
    )


def _chosen(form: choices.ChoiceBenchmark, *notes: str) -> Callable[[Desk, Any], Found]:
    def run(desk: Desk, items: Any) -> Found:
        with desk.subject.leased() as model:
            records = choices.evaluate(form, model, items)
        figures = form.figures(items, records)
        return figures, records, [*notes, choices.length_note(figures)]

    return run


def _harness(desk: Desk, items: Any) -> Found:
    with desk.subject.leased() as leased, tempfile.TemporaryDirectory() as folder:
        harness.write_tasks(items, Path(folder))
        model, chat = leased.loaded()
        batch = desk.subject.policies.policy.batch_size
        found = harness.evaluate(model, chat.tokenizer, batch, Path(folder))
    figures = harness.figures(found)
    return figures, harness.records(found), [choices.length_note(figures)]


def _probed(figures: Callable[[Sequence[Record]], Sequence[Figure]]) -> Callable[[Desk, Any], Found]:
    def run(desk: Desk, items: Any) -> Found:
        with desk.subject.leased() as model:
            answers = redteam.respond(model, [probe.prompt for probe in items], desk.sampling)
            records = judges.judged(desk.panel, items, answers)
        return figures(records), records, ()

    return run


def _helpfulness(desk: Desk, items: Any) -> Found:
    answers = []
    for base in (False, True):
        with desk.subject.leased(base) as model:
            answers.append([r.text for r in redteam.respond(model, items, desk.sampling)])
    records = judges.preferred(desk.panel, items, (answers[0], answers[1]))
    figures, notes = judges.helpfulness(records)
    return figures, records, notes


def _agreement(desk: Desk, items: Any) -> Found:
    records = judges.labelled(items, desk.panel.label([response for response, _ in items]))
    figures, notes = judges.agreement(records)
    return figures, records, notes


BENCHMARKS: dict[str, Benchmark] = {
    "truthfulqa-tf": Benchmark(
        "each candidate of TruthfulQA put alone, as true or false",
        _chosen(choices.TRUTHFULQA, choices.RELEASED),
    ),
    "truthfulqa-mc": Benchmark("TruthfulQA MC1 and MC2 by lm-evaluation-harness", _harness),
    "hhh": Benchmark("HHH Eval: the better of two replies, by category", _chosen(choices.HHH)),
    "violations": Benchmark("harmful answers to red-team prompts", _probed(judges.violations), True, True),
    "overrefusal": Benchmark(
        "safe prompts refused (XSTest's format)", _probed(judges.overrefusal), True, True, True
    ),
    "helpfulness": Benchmark("answers to safe prompts against the base's", _helpfulness, True, True, True),
    "agreement": Benchmark("the judge against human labels", _agreement, True),
}
