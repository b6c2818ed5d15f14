"""Measuring: what only models can say about the principles of a finished run. Interrupted, it goes on where it was.

    RUN/ledger/000_lifts.json         in context: the untrained policy revises under each principle (context.py)
    RUN/ledger/000_checkpoint.json    leave-one-out: trained on all accepted rows; 000_test.json has its figures
    RUN/ledger/003_checkpoint.json    the same without the rows that entry 3 of the ledger revised

The actors, the trainer and the budget are those of the run; its own files stay as they are.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from iteralign import finetune, judge, measure, propose
from iteralign.budget import prices
from iteralign.budget.limits import Purse
from iteralign.config.schema import Config
from iteralign.errors import UserError
from iteralign.record import artifact, calls
from iteralign.record.disk import disk, sweep
from iteralign.record.journal import Event, RunJournal
from iteralign.record.lock import Lock
from iteralign.record.replay import Past, replay
from iteralign.report.ledger.context import Lift, Tried, lifts, revisions
from iteralign.report.ledger.entries import Entry, entries
from iteralign.report.ledger.record import LedgerRecord, record
from iteralign.run import build, offline
from iteralign.types import Example, Metrics, Principle, Probe, Revision, Verdict

Assemble = Callable[[Config, Path, RunJournal, Purse], build.Assembly]
FOLDER = "ledger"
FAILURES = 12
"""Failures that a principle is tried on, at most, unless told otherwise (ours, as in a trial)."""
ALL = 0
"""The number under which the training on all rows is kept; entries are counted from 1."""


def place(root: Path, t: int, step: str) -> Path:
    """Where the step of entry `t` lies below RUN/ledger."""
    return root / f"{t:03d}_{step}.json"


@dataclass(frozen=True)
class Workbench:
    """A finished run with its actors at hand."""

    past: Past
    record: LedgerRecord
    journal: RunJournal
    cast: build.Assembly

    @property
    def judge(self) -> str:
        """Who judges, as the config names it."""
        return prices.models(self.past.config)["meter"]

    @cached_property
    def entries(self) -> list[tuple[int, Entry]]:
        """The principles that were in force, by the number of their entry."""
        return [(i, e) for i, e in enumerate(entries(self.record), 1) if e.active]


@contextmanager
def opened(
    root: Path, on_event: Callable[[Event], None], assemble: Assemble = build.assemble
) -> Iterator[Workbench]:
    """The run in `root`, locked, with the actors that `assemble` finds for its config. Raises UserError where it is not
    finished, or in use."""
    past, folder = replay(root), root / FOLDER
    if past.outcome is None:
        raise UserError(f"{root}: the run is not finished; finish it with: iteralign run {root}")
    with offline.kept(past.config), _locked(root):
        sweep(folder)
        purse = _purse(past, root)

        def told(event: Event) -> None:
            on_event(event)
            purse.event(event)

        journal = RunJournal(folder, told, place=place)
        assembly = assemble(past.config, folder, journal, purse)
        with closing(assembly.lab):
            try:
                yield Workbench(past, record(root), journal, assembly)
            except artifact.Changed:
                raise UserError(
                    f"{folder} holds measurements of another --n, or of the run before it went on; "
                    "delete it to measure again"
                ) from None


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    lock = Lock(root)
    try:
        with disk(root):
            (root / FOLDER).mkdir(exist_ok=True)
        yield
    finally:
        lock.release()


def _purse(past: Past, root: Path) -> Purse:
    """The run's budget, with what the ledger has asked before."""
    purse = Purse(past.config, root)
    for path in (root / FOLDER / "calls").glob("*.meter.jsonl"):
        purse.pay("meter", [call.reply for call in calls.read(path)])
    return purse


@dataclass(frozen=True, slots=True)
class MeasuringCost:
    """What a measurement asks for if nothing of it is on record. judged: answers that `judge`, the meter, judges."""

    trainings: int
    judged: int
    judge: str


@dataclass(frozen=True)
class InContext:
    """Each principle in the context of the untrained policy, on at most `n` of its failures."""

    bench: Workbench
    n: int = FAILURES

    @cached_property
    def tried(self) -> list[Tried]:
        return [
            t
            for number, e in self.bench.entries
            if (t := _tried(self.bench.record, number, e, self.n)).failures
        ]

    @property
    def safe(self) -> list[Probe]:
        return [p for p in self.bench.cast.material.probes if p.kind in ("benign", "borderline")]

    @property
    def cost(self) -> MeasuringCost:
        return MeasuringCost(
            0, len(revisions(self.tried)) + len(self.safe) * (1 + len(self.tried)), self.bench.judge
        )

    def measure(self) -> None:
        """Raises UserError where the policy is not the one that the run began with; what the actors raise."""
        bench, a = self.bench, self.bench.cast
        if not self.tried:
            raise UserError(
                f"{bench.record.root}: --in-context: no principle has failures on record to be tried on"
            )
        with a.lab.serve(a.policy) as model:
            _require_same(bench.record.root, model.id)
            do = bench.journal.at(ALL)
            do("lifts", lifts, model, a.lab.meter, tuple(self.tried), tuple(self.safe), a.method)


@dataclass(frozen=True)
class LeaveOneOut:
    """The base trained on all accepted rows, and once more for each principle without the rows that it revised, others
    in their place."""

    bench: Workbench

    @property
    def accepted(self) -> list[tuple[int, Revision]]:
        """(iteration, row): those that are in the weights, so none of an iteration that was rolled back."""
        return [(i.t, r) for i in self.bench.past.iterations if not i.rolled_back for r in i.accepted]

    @property
    def replayed(self) -> tuple[Example, ...]:
        settings = self.bench.past.config.finetune
        benign = self.bench.past.steps.get((0, "benign"), ())
        return finetune.keep(benign, settings.cut) if settings.replay else ()

    def filling(self, kept: Sequence[Revision]) -> tuple[Example, ...]:
        """As many of the remaining rows once more as were left out, spaced evenly: every training takes the same
        number of updates, or what a shorter one misses would be put down to the rows."""
        others, gone = (*finetune.rows(kept), *self.replayed), len(self.accepted) - len(kept)
        return tuple(others[i * len(others) // gone] for i in range(gone)) if others else ()

    @cached_property
    def left_out(self) -> dict[int, tuple[Revision, ...]]:
        """By number of the entry, 0 for none: the rows that remain. Entries that revised no row are not there."""
        rows = self.accepted
        remaining = {
            number: tuple(r for t, r in rows if not (t in e.active and e.principle.id in r.shown))
            for number, e in self.bench.entries
        }
        return {ALL: tuple(r for _, r in rows)} | {
            k: kept for k, kept in remaining.items() if len(kept) < len(rows)
        }

    @property
    def cost(self) -> MeasuringCost:
        trainings = len(self.left_out)
        return MeasuringCost(trainings, trainings * len(self.bench.cast.test), self.bench.judge)

    def measure(self) -> None:
        """Raises what the actors raise."""
        a = self.bench.cast
        if len(self.left_out) == 1:
            raise UserError(
                f"{self.bench.record.root}: --leave-one-out: no principle revised a row that was trained on"
            )
        for number, rows in self.left_out.items():
            do = self.bench.journal.at(number)
            beside = (*self.replayed, *self.filling(rows))
            trained = do("checkpoint", finetune.sft, a.lab.trainer, a.policy, rows, beside)
            with a.lab.serve(trained) as model:
                do("test", measure.probe, model, a.lab.meter, a.test, a.method.measure, a.method.sampling)


def measured(root: Path) -> tuple[dict[int, Lift], dict[int, Metrics]]:
    """What is on record: figures in context, and after each training, by number of the entry. Raises UserError."""
    folder = root / FOLDER
    lifted = cast(tuple[Lift, ...], _value(folder, ALL, "lifts", tuple[Lift, ...]) or ())
    numbers = sorted(int(p.name.partition("_")[0]) for p in folder.glob("[0-9]*_test.json"))
    return {x.number: x for x in lifted}, {n: _value(folder, n, "test", Metrics) for n in numbers}


def _value(folder: Path, t: int, step: str, kind: Any) -> Any:
    path = place(folder, t, step)
    found = artifact.load(path)
    return None if found is None else artifact.value(path, found, kind)


def _tried(known: LedgerRecord, number: int, entry: Entry, n: int) -> Tried:
    """Its failures, those first that the oracle had not seen when it proposed the principle."""
    principle = entry.principle
    failed = {v.response.prompt.id: v for t in known.turns.values() for v in judge.harmful(t.verdicts)}
    seen = _seen(known, principle)
    ids = [*(p.id for p in entry.failures if p.id not in seen), *(p.id for p in entry.more), *seen]
    chosen = [failed[id] for id in ids if id in failed][:n]
    law = known.turns[entry.active[-1]].law.constitution.principles
    held = sum(v.response.prompt.id not in seen for v in chosen)
    return Tried(number, principle, law, tuple(chosen), held)


def _seen(known: LedgerRecord, principle: Principle) -> tuple[str, ...]:
    """The failures that the oracle was shown; all, where their kind cannot be told any more."""
    turn, settings = known.turns.get(principle.born), build.proposing(known.config)
    groups = propose.group(judge.harmful(turn.verdicts), settings) if turn else []
    for _, members in groups:
        if [v.response.prompt.id for v in members] == list(principle.evidence):
            return _ids(propose.parted(members, settings)[0])
    return principle.evidence


def _ids(verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    return tuple(v.response.prompt.id for v in verdicts)


def _require_same(root: Path, id: str) -> None:
    """The untrained policy answers as it did when the run began, or the ledger would be about another one."""
    begun = artifact.load(artifact.place(root, 0, "metrics"))
    if begun is not None and begun.inputs.get("model") not in (id, None):
        raise UserError(
            f"{root}: the untrained policy is not the one that the run began with ({begun.inputs['model']}, now {id}): "
            "other weights, device, number format or batch size; measure where the run was made"
        )
