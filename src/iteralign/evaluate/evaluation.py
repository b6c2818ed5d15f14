"""Evaluation: benchmarks by name, each with its items, how the model is asked, and what figures come of it.

All data are read and checked before any model is loaded. Results come one by one, so that what is done is kept.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from iteralign import measure, prompts, redteam
from iteralign.budget import prices
from iteralign.budget.limits import BudgetSpent
from iteralign.config.schema import Config
from iteralign.errors import UserError, unknown
from iteralign.evaluate import gold, harness, hhh, judging, panel, truthfulqa
from iteralign.evaluate.benchdata import READERS, Items
from iteralign.evaluate.choices import length_note
from iteralign.evaluate.panel import Panel
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

    data: benchmark to file, folder or source. judging: whose judges, limits and prices count (`panel.config`).
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


@dataclass(frozen=True, slots=True)
class Parts:
    """What a benchmark found, before it is named."""

    figures: Sequence[Figure]
    records: Sequence[Record]
    notes: Sequence[str] = ()


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


class Desk:
    """Who is asked: the subject, and the judge, opened when the first benchmark needs it."""

    def __init__(self, subject: Subject, request: Request) -> None:
        self.subject, self.request = subject, request
        self._open = ExitStack()

    @cached_property
    def panel(self) -> Panel:
        return self._open.enter_context(closing(Panel(self.request.judging, self.request.connections)))

    @cached_property
    def wording(self) -> str:
        """A digest of what the judges are asked."""
        measure = prompts.load("measure")
        return digest([measure, prompts.load("evaluate"), build.judging(self.request.judging, measure)])[:16]

    @property
    def sampling(self) -> Sampling:
        return Sampling(max_tokens=self.request.max_tokens)

    def close(self) -> None:
        self._open.close()
        self.subject.close()


def evaluate(
    subject: Subject,
    request: Request,
    on_start: Callable[[str, int], None] = lambda *_: None,
    done: Mapping[str, Result] | None = None,
) -> Iterator[Result]:
    """One Result after another, in the order asked for. `on_start` hears each benchmark that is run, and its number of
    items. `done`: results on record; one of the same subject, items and judges is given again and nothing is asked.

    Raises UserError and WorldError; results already given stay valid.
    """
    loaded = {name: _items(name, subject, request) for name in request.benchmarks}
    for name in request.benchmarks:
        _require_grader(name, request.judging)
    desk = Desk(subject, request)
    try:
        for name, items in loaded.items():
            kept = (done or {}).get(name)
            if kept is not None and _is_of(kept, name, desk, items):
                _decided(kept.records, name, request)
                yield kept
                continue
            on_start(name, len(items.values))
            yield _result(name, desk, items)
    finally:
        desk.close()


def _is_of(kept: Result, name: str, desk: Desk, items: Items) -> bool:
    """Whether that result is what running the benchmark again would be asked."""
    same = (dict(kept.subject), kept.source.get("sha256"), kept.judge, dict(kept.asked))
    return same == (
        desk.subject.facts,
        items.source["sha256"],
        _judges(name, desk.request),
        _asked(name, desk),
    )


def _judges(name: str, request: Request) -> str | None:
    return panel.name(request.judging) if BENCHMARKS[name].judged else None


def _asked(name: str, desk: Desk) -> dict[str, Any]:
    """What else decides a figure: the length of answers, and the wording of the judges' questions."""
    benchmark = BENCHMARKS[name]
    found: dict[str, Any] = {"max_tokens": desk.request.max_tokens} if benchmark.answers else {}
    return found | ({"prompts": desk.wording} if benchmark.judged else {})


def _require_grader(name: str, judging: Config) -> None:
    if name in GRADED and all(m.guard for m in prices.judges(judging).values()):
        raise UserError(
            f"{name}: a guard model says only whether an answer is harmful; give a --judge that is no guard as well"
        )


GRADED = ("overrefusal", "helpfulness")
"""Benchmarks for which a judge does more than tell harm."""


def _calls(name: str, panel: Panel, items: Sequence[Any]) -> int:
    """The fewest calls to judges that a benchmark takes."""
    if name == "helpfulness":
        return 2 * len(items) * len(panel.graders)
    graded = sum(getattr(item, "kind", "hazard") not in measure.HARM for item in items)
    return graded * len(panel.graders) + (len(items) - graded) * len(panel.models)


def _items(name: str, subject: Subject, request: Request) -> Items:
    if name == "truthfulqa-mc":
        harness.require()
    if name == "helpfulness" and subject.checkpoint == subject.base:
        raise UserError(
            "helpfulness: compares a model with its base, and this is a base: give --adapter, or a finished run"
        )
    return READERS[name](request.data.get(name), subject.is_organism, request.limit, request.fields.get(name))


def _result(name: str, desk: Desk, items: Items) -> Result:
    judged = BENCHMARKS[name].judged
    if judged:
        desk.panel.afford(name, _calls(name, desk.panel, items.values))
    try:
        parts = BENCHMARKS[name].run(desk, items.values)
    except BudgetSpent as spent:
        raise panel.stopped(name, spent) from None
    _decided(parts.records, name, desk.request)
    undecided = f"undecided: {sum(r.failed is None for r in parts.records)} of {len(parts.records)}"
    notes = [*parts.notes, undecided, *judging.unanimity(parts.records)] if judged else [*parts.notes]
    return Result(
        name,
        desk.subject.facts,
        items.source,
        tuple(parts.figures),
        tuple(parts.records),
        _judges(name, desk.request),
        (*items.notes, *notes),
        _asked(name, desk),
    )


def _decided(records: Sequence[Record], name: str, request: Request) -> None:
    if BENCHMARKS[name].judged:
        judging.refuse(name, panel.name(request.judging), records, request.max_undecided)


def _true_false(desk: Desk, items: Any) -> Parts:
    with desk.subject.leased() as model:
        records = truthfulqa.evaluate(model, items)
    figures = truthfulqa.figures(items, records)
    return Parts(figures, records, [truthfulqa.NOTE, length_note(figures)])


def _pairs(desk: Desk, items: Any) -> Parts:
    with desk.subject.leased() as model:
        records = hhh.evaluate(model, items)
    figures = hhh.figures(items, records)
    return Parts(figures, records, [length_note(figures)])


def _harness(desk: Desk, items: Any) -> Parts:
    with desk.subject.leased() as leased, tempfile.TemporaryDirectory() as folder:
        harness.write_tasks(items, Path(folder))
        model, chat = leased.loaded()
        batch = desk.subject.policies.policy.batch_size
        found = harness.evaluate(model, chat.tokenizer, batch, Path(folder))
    figures = harness.figures(found)
    return Parts(figures, harness.records(found), [length_note(figures)])


def _violations(desk: Desk, items: Any) -> Parts:
    records = _probed(desk, items)
    return Parts(judging.violations(records), records)


def _overrefusal(desk: Desk, items: Any) -> Parts:
    records = _probed(desk, items)
    return Parts(judging.overrefusal(records), records)


def _probed(desk: Desk, items: Any) -> tuple[Record, ...]:
    with desk.subject.leased() as model:
        return judging.probed(model, desk.panel, items, desk.sampling)


def _helpfulness(desk: Desk, items: Any) -> Parts:
    answers = []
    for base in (False, True):
        with desk.subject.leased(base) as model:
            answers.append([r.text for r in redteam.respond(model, items, desk.sampling)])
    records = judging.preferred(desk.panel, items, (answers[0], answers[1]))
    figures, notes = judging.helpfulness(records)
    return Parts(figures, records, notes)


def _agreement(desk: Desk, items: Any) -> Parts:
    verdicts = judging.agreement(desk.panel, items)
    records = [
        replace(record, detail={**record.detail, **judging.votes(verdict)})
        for record, verdict in zip(gold.records(items, verdicts), verdicts, strict=True)
    ]
    figures, notes = gold.figures(records)
    return Parts(figures, records, notes)


@dataclass(frozen=True, slots=True)
class Benchmark:
    about: str
    run: Callable[[Desk, Any], Parts]
    judged: bool = False
    answers: bool = False
    """Whether the model answers in words of its own."""


BENCHMARKS: dict[str, Benchmark] = {
    "truthfulqa-tf": Benchmark("each candidate of TruthfulQA put alone, as true or false", _true_false),
    "truthfulqa-mc": Benchmark("TruthfulQA MC1 and MC2 by lm-evaluation-harness", _harness),
    "hhh": Benchmark("HHH Eval: the better of two replies, by category", _pairs),
    "violations": Benchmark("harmful answers to red-team prompts", _violations, judged=True, answers=True),
    "overrefusal": Benchmark(
        "safe prompts refused (XSTest's format)", _overrefusal, judged=True, answers=True
    ),
    "helpfulness": Benchmark(
        "answers to safe prompts against the base's", _helpfulness, judged=True, answers=True
    ),
    "agreement": Benchmark("the judge against human labels", _agreement, judged=True),
}
