"""Evaluation: benchmarks by name, each with its items, how the model is asked, and what figures come of it.

All data are read and checked before any model is loaded. Results come one by one, so that what is done is kept.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from iteralign import prompts, redteam
from iteralign.benchmarks import gold, harness, hhh, truthfulqa
from iteralign.benchmarks.results import Figure, Record, Result
from iteralign.errors import UserError, unknown
from iteralign.lab import Model
from iteralign.models.remote import RemoteModel, RemoteSettings
from iteralign.prompts import PromptSet
from iteralign.run import judging
from iteralign.run.benchdata import READERS, Items
from iteralign.run.build import PROVIDERS
from iteralign.run.subject import Subject
from iteralign.types import Sampling

UNDECIDED = 0.1
"""The share of items that a judge may leave undecided, unless told otherwise (ours)."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to evaluate.

    data: benchmark to file, folder or source. max_undecided: share that the judge may leave open. limit: only the
    first so many items of each set. max_tokens: of an answer. connections: calls to the judge at once.
    """

    benchmarks: tuple[str, ...]
    data: Mapping[str, str] = field(default_factory=dict)
    judge: str = "organism/oracle"
    max_undecided: float = UNDECIDED
    limit: int | None = None
    max_tokens: int = 500
    connections: int = 16


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
    def judge(self) -> Model:
        settings = RemoteSettings(max_connections=self.request.connections)
        return self._open.enter_context(RemoteModel(self.request.judge, settings, PROVIDERS))

    @cached_property
    def measure(self) -> PromptSet:
        return replace(prompts.load("measure"), repair=1)

    @cached_property
    def compare(self) -> PromptSet:
        return replace(prompts.load("evaluate"), repair=1)

    @property
    def sampling(self) -> Sampling:
        return Sampling(max_tokens=self.request.max_tokens)

    def close(self) -> None:
        self._open.close()
        self.subject.close()


def evaluate(
    subject: Subject, request: Request, on_start: Callable[[str, int], None] = lambda *_: None
) -> Iterator[Result]:
    """One Result after another, in the order asked for. `on_start` hears each benchmark and its number of items.

    Raises UserError and WorldError; results already given stay valid.
    """
    loaded = {name: _items(name, subject, request) for name in request.benchmarks}
    desk = Desk(subject, request)
    try:
        for name, items in loaded.items():
            on_start(name, len(items.values))
            yield _result(name, desk, items)
    finally:
        desk.close()


def _items(name: str, subject: Subject, request: Request) -> Items:
    if name == "truthfulqa-mc":
        harness.require()
    if name == "helpfulness" and subject.checkpoint == subject.base:
        raise UserError(
            "helpfulness: compares a model with its base, and this is a base: give --adapter, or a finished run"
        )
    return READERS[name](request.data.get(name), subject.is_organism, request.limit)


def _result(name: str, desk: Desk, items: Items) -> Result:
    parts = BENCHMARKS[name].run(desk, items.values)
    judged = BENCHMARKS[name].judged
    who = desk.request.judge if judged else None
    if judged:
        judging.refuse(name, desk.request.judge, parts.records, desk.request.max_undecided)
    undecided = sum(r.failed is None for r in parts.records)
    notes = [*parts.notes, f"undecided: {undecided} of {len(parts.records)}"] if judged else parts.notes
    return Result(
        name, desk.subject.facts, items.source, tuple(parts.figures), tuple(parts.records), who, tuple(notes)
    )


def _true_false(desk: Desk, items: Any) -> Parts:
    with desk.subject.leased() as model:
        records = truthfulqa.evaluate(model, items)
    return Parts(truthfulqa.figures(items, records), records, [truthfulqa.NOTE])


def _pairs(desk: Desk, items: Any) -> Parts:
    with desk.subject.leased() as model:
        records = hhh.evaluate(model, items)
    return Parts(hhh.figures(items, records), records)


def _harness(desk: Desk, items: Any) -> Parts:
    with desk.subject.leased() as leased, tempfile.TemporaryDirectory() as folder:
        harness.write_tasks(items, Path(folder))
        model, chat = leased.loaded()
        batch = desk.subject.policies.settings.batch_size
        found = harness.evaluate(model, chat.tokenizer, batch, Path(folder))
    return Parts(harness.figures(found), harness.records(found))


def _violations(desk: Desk, items: Any) -> Parts:
    records = _probed(desk, items)
    return Parts(judging.violations(records), records)


def _overrefusal(desk: Desk, items: Any) -> Parts:
    records = _probed(desk, items)
    return Parts(judging.overrefusal(records), records)


def _probed(desk: Desk, items: Any) -> tuple[Record, ...]:
    with desk.subject.leased() as model:
        return judging.probed(model, desk.judge, items, desk.measure, desk.sampling)


def _helpfulness(desk: Desk, items: Any) -> Parts:
    answers = []
    for base in (False, True):
        with desk.subject.leased(base) as model:
            answers.append([r.text for r in redteam.respond(model, items, desk.sampling)])
    records = judging.preferred(desk.judge, items, (answers[0], answers[1]), desk.compare)
    figures, notes = judging.helpfulness(records)
    return Parts(figures, records, notes)


def _agreement(desk: Desk, items: Any) -> Parts:
    verdicts = judging.agreement(desk.judge, items, desk.measure)
    records = gold.records(items, verdicts)
    return Parts(gold.figures(records), records)


@dataclass(frozen=True, slots=True)
class Benchmark:
    about: str
    run: Callable[[Desk, Any], Parts]
    judged: bool = False


BENCHMARKS: dict[str, Benchmark] = {
    "truthfulqa-tf": Benchmark("each candidate of TruthfulQA put alone, as true or false", _true_false),
    "truthfulqa-mc": Benchmark("TruthfulQA MC1 and MC2 by lm-evaluation-harness", _harness),
    "hhh": Benchmark("HHH Eval: the better of two replies, by category", _pairs),
    "violations": Benchmark("harmful answers to red-team prompts", _violations, judged=True),
    "overrefusal": Benchmark("safe prompts refused (XSTest's format)", _overrefusal, judged=True),
    "helpfulness": Benchmark("answers to safe prompts against the base's", _helpfulness, judged=True),
    "agreement": Benchmark("the judge against human labels", _agreement, judged=True),
}
