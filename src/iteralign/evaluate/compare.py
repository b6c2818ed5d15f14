"""Comparing: the same items before and after, one by one: closed, still open, regressed.

A side is a run (its test probes after the last iteration), `RUN@before` (the same before the first), `RUN@3` (the
validation probes after iteration 3), or what `iteralign evaluate` wrote. Only the same questions are compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from iteralign import measure, stats
from iteralign.errors import UserError
from iteralign.evaluate.results import Record, kept
from iteralign.evaluate.subject import is_run
from iteralign.record import artifact
from iteralign.record.replay import replay
from iteralign.types import Metrics, Rate

NAMES = {"hazard": "hazards", "benign": "benign prompts", "borderline": "borderline prompts", "fact": "facts"}
BEFORE = "before"


@dataclass(frozen=True, slots=True)
class Side:
    """One side: its records by group, and for each group what names its questions. Within one run (`root`) an id
    always names the same question."""

    name: str
    root: str
    groups: Mapping[str, tuple[Record, ...]]
    questions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """One item on both sides."""

    id: str
    category: str
    question: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Group:
    """What became of one benchmark's items. rates: of failures on either side, each with its worst case (all that is
    undecided failed). categories: the same by category, with p-values adjusted (Holm) for looking at all of them."""

    name: str
    rates: Mapping[str, tuple[Rate, Rate]]
    paired: stats.Paired
    categories: Mapping[str, tuple[stats.Paired, float]]
    closed: tuple[Change, ...]
    still_open: tuple[Change, ...]
    regressed: tuple[Change, ...]


def side(name: str) -> Side:
    """The side that `name` names. Raises UserError."""
    place, _, at = name.partition("@") if not Path(name).exists() else (name, "", "")
    root = Path(place)
    if is_run(root):
        return _of_run(name, root, at)
    if at:
        raise UserError(f"{name}: {place} is not a run directory, so it has no @{at}")
    if not root.exists():
        raise UserError(f"{name}: no such run, and no results of iteralign evaluate")
    results = kept(root)
    groups = {key: result.records for key, result in results.items()}
    return Side(name, "", groups, {key: str(r.source.get("sha256")) for key, r in results.items()})


def _of_run(name: str, root: Path, at: str) -> Side:
    past = replay(root)
    if at not in ("", BEFORE) and not at.isdecimal():
        raise UserError(f"{name}: after @ comes {BEFORE!r} or the number of an iteration, not {at!r}")
    if not at and past.outcome is None:
        raise UserError(
            f"{name}: the run is not finished; finish it, or name an iteration as in {name}@{past.last}"
        )
    if at.isdecimal():
        t, step = int(at), "metrics"
        found = past.steps.get((t, step))
    else:
        t, step = past.outcome.t if past.outcome and not at else 0, "test"
        found = past.test(t)
    recorded = artifact.load(artifact.place(root, t, step))
    if not isinstance(found, Metrics) or recorded is None:
        raise UserError(f"{name}: nothing was measured there; the run has iterations 0 to {past.last}")
    groups: dict[str, tuple[Record, ...]] = {}
    for kind, label in NAMES.items():
        records = tuple(
            Record(r.id, r.topic, "", r.outcome, measure.failed(r.kind, r.outcome), family=r.family)
            for r in found.results
            if r.kind == kind
        )
        groups |= {label: records} if records else {}
    return Side(name, str(root.resolve()), groups, dict.fromkeys(groups, recorded.inputs["probes"]))


def compare(a: Side, b: Side) -> tuple[Group, ...]:
    """Every group that both sides have. Raises UserError where they have none, or asked other questions."""
    common = [name for name in a.groups if name in b.groups]
    if not common:
        raise UserError(
            f"{a.name} and {b.name} have no benchmark in common: {', '.join(a.groups)} against {', '.join(b.groups)}"
        )
    for name in common:
        if a.questions[name] != b.questions[name] and not (a.root and a.root == b.root):
            raise UserError(
                f"{name}: {a.name} and {b.name} were asked other questions; they cannot be compared"
            )
    return tuple(_group(name, a.groups[name], b.groups[name]) for name in common)


def _group(name: str, before: Sequence[Record], after: Sequence[Record]) -> Group:
    found = {r.id: r for r in after}
    pairs = [(r, found[r.id]) for r in before if r.id in found]
    clusters = [x.cluster for x, _ in pairs]
    sides = {"before": [x.failed for x, _ in pairs], "after": [y.failed for _, y in pairs]}
    categories = list(dict.fromkeys(x.category for x, _ in pairs))
    several = categories if len(categories) > 1 else []
    each = [_paired([p for p in pairs if p[0].category == category]) for category in several]
    adjusted = stats.holm([p.p_value for p in each])

    def changes(was: bool, now: bool) -> tuple[Change, ...]:
        return tuple(
            Change(x.id, x.category, x.question, x.outcome, y.outcome)
            for x, y in pairs
            if (x.failed, y.failed) == (was, now)
        )

    return Group(
        name,
        {when: stats.rates(failed, clusters) for when, failed in sides.items()},
        _paired(pairs),
        dict(zip(several, zip(each, adjusted, strict=True), strict=True)),
        changes(True, False),
        changes(True, True),
        changes(False, True),
    )


def _paired(pairs: Sequence[tuple[Record, Record]]) -> stats.Paired:
    before, after = [x.failed for x, _ in pairs], [y.failed for _, y in pairs]
    return stats.paired(before, after, [x.cluster for x, _ in pairs])
