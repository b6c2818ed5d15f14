"""What the benchmark says: each arm over its siblings, the first arm against each other one, and sibling by sibling.

A sibling is the unit, as its probes share its gaps: shares are averaged or pooled with an interval over siblings.
Between two arms probes are paired one by one, with a test over the siblings and one for each sibling alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from iteralign import measure, stats
from iteralign.record.disk import disk
from iteralign.record.replay import OUTCOME
from iteralign.stats import Interval, Paired
from iteralign.types import Rate
from iteralign_organism.discovery.layout import Bench
from iteralign_organism.discovery.outcome import SiblingOutcome, outcome


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm. None is said of what no sibling has: precision where nothing was adopted, iterations and calls where the
    discovery was never complete. named: planted gaps that were named. complete: siblings of which all were."""

    name: str
    siblings: tuple[str, ...]
    precision: Interval | None
    recall: Interval
    named: Rate
    complete: Rate
    iterations: Interval | None
    calls: Interval | None
    before: Rate
    after: Rate
    worst: Rate
    closed: Rate
    borderline_before: Rate
    borderline_after: Rate


@dataclass(frozen=True, slots=True)
class Against:
    """The first arm minus another one, on the siblings that both have.

    recall, precision, iterations, calls: mean difference with a bootstrap interval over siblings (`on`: how many of
    them have both). violations: the same probes after the other arm and after the first, siblings as clusters. alone:
    the smallest p-value of one sibling (by probe) and the largest (by families of probes). holm: that of `violations`,
    adjusted for the number of arms.
    """

    first: str
    other: str
    differences: Mapping[str, Interval | None]
    on: Mapping[str, int]
    violations: Paired
    alone: tuple[float, float]
    holm: float


@dataclass(frozen=True, slots=True)
class Report:
    """All that is finished of a benchmark. missing: ARM/LETTER of what is not."""

    arms: tuple[Arm, ...]
    against: tuple[Against, ...]
    runs: tuple[SiblingOutcome, ...]
    missing: tuple[str, ...]


def report(bench: Bench) -> Report:
    """From the run directories alone; nothing is run. Raises UserError where one is damaged."""
    found = {job: _outcome(bench, *job) for job in bench.jobs}
    runs = tuple(run for run in found.values() if run is not None)
    by_arm = {arm: [run for run in runs if run.arm == arm] for arm in bench.arms}
    done = {arm: members for arm, members in by_arm.items() if members}
    first, *others = done.values() or [[]]
    return Report(
        tuple(pooled(arm, members) for arm, members in done.items()),
        against(first, others),
        runs,
        tuple(f"{arm}/{sibling}" for (arm, sibling), run in found.items() if run is None),
    )


def pooled(arm: str, runs: Sequence[SiblingOutcome]) -> Arm:
    """One arm over its siblings."""
    return Arm(
        name=arm,
        siblings=tuple(run.sibling for run in runs),
        precision=_mean([run.precision for run in runs], _of_shares),
        recall=_of_shares([run.recall for run in runs]),
        named=_pool([stats.rate(len(set(run.named) & set(run.planted)), len(run.planted)) for run in runs]),
        complete=stats.rate(sum(run.discovered_at is not None for run in runs), len(runs)),
        iterations=_mean([run.discovered_at for run in runs]),
        calls=_mean([run.calls for run in runs]),
        before=_pool([run.violations[0] for run in runs]),
        after=_pool([run.violations[1] for run in runs]),
        worst=_pool([run.worst for run in runs]),
        closed=_pool([run.closed for run in runs]),
        borderline_before=_pool([run.borderline[0] for run in runs]),
        borderline_after=_pool([run.borderline[1] for run in runs]),
    )


def against(
    first: Sequence[SiblingOutcome], others: Sequence[Sequence[SiblingOutcome]]
) -> tuple[Against, ...]:
    """The first arm against each of the others."""
    ours = {run.sibling: run for run in first}
    pairs = [[(ours[run.sibling], run) for run in other if run.sibling in ours] for other in others]
    pairs = [shared for shared in pairs if shared]
    changed = [_violations(shared, "sibling") for shared in pairs]
    adjusted = stats.holm([c.p_value for c in changed])
    return tuple(_against(shared, c, p) for shared, c, p in zip(pairs, changed, adjusted, strict=True))


def _against(
    pairs: Sequence[tuple[SiblingOutcome, SiblingOutcome]], violations: Paired, holm: float
) -> Against:
    smallest = min(_violations([pair], "probe").p_value for pair in pairs)
    largest = max(_violations([pair], "family").p_value for pair in pairs)
    values: dict[str, list[tuple[float | None, float | None]]] = {
        "recall": [(a.recall, b.recall) for a, b in pairs],
        "precision": [(a.precision, b.precision) for a, b in pairs],
        "iterations": [(a.discovered_at, b.discovered_at) for a, b in pairs],
        "calls": [(a.calls, b.calls) for a, b in pairs],
    }
    known = {k: _differences(both) for k, both in values.items()}
    differences = {k: _mean(each) for k, each in known.items()}
    (a, b), on = pairs[0], {k: len(each) for k, each in known.items()}
    return Against(a.arm, b.arm, differences, on, violations, (smallest, largest), holm)


def _violations(
    pairs: Sequence[tuple[SiblingOutcome, SiblingOutcome]], by: Literal["sibling", "family", "probe"]
) -> Paired:
    """The hazard probes after the other arm and after ours, one by one."""
    shared = [(a, b.hazards[id], a.hazards[id]) for a, b in pairs for id in a.hazards if id in b.hazards]
    return stats.paired(
        [measure.failed(r.kind, r.outcome) for _, r, _ in shared],
        [measure.failed(r.kind, r.outcome) for *_, r in shared],
        [{"sibling": ours.sibling, "family": r.cluster, "probe": r.id}[by] for ours, r, _ in shared],
    )


def _outcome(bench: Bench, arm: str, sibling: str) -> SiblingOutcome | None:
    root = bench.root(arm, sibling)
    with disk(root):
        return outcome(root, arm, sibling) if (root / OUTCOME).is_file() else None


def _differences(pairs: Sequence[tuple[float | None, float | None]]) -> list[float]:
    return [a - b for a, b in pairs if a is not None and b is not None]


def _mean(
    values: Sequence[float | None], mean: Callable[[Sequence[float]], Interval] = stats.mean
) -> Interval | None:
    known = [float(v) for v in values if v is not None]
    return mean(known) if known else None


def _of_shares(values: Sequence[float]) -> Interval:
    """The mean of shares, one a sibling; with a width also where all are 0 or all 1."""
    return stats.share(values)


def _pool(rates: Sequence[Rate]) -> Rate:
    """Each sibling's items together, with an interval over siblings."""
    found = [(i < r.hits, sibling) for sibling, r in enumerate(rates) for i in range(r.n)]
    return stats.hits([hit for hit, _ in found], [sibling for _, sibling in found])
