"""What of the benchmark is done, what is left, and about how long that takes: from times on record if there are any."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from iteralign.record.replay import CONFIG, OUTCOME
from iteralign_organism.discovery import family
from iteralign_organism.discovery.family import FAMILY, Planting, State
from iteralign_organism.discovery.layout import Bench
from iteralign_organism.discovery.outcome import seconds

PLANTING_S = 800.0
"""Assumed where no planting is on record: the middle of 10 to 17 minutes, measured on one busy core."""
RUN_S = 180.0
"""Assumed where no run is on record: siblings took 77 to 198 s on one core (docs/organism.md)."""

Progress = Literal["done", "begun", "to do"]


@dataclass(frozen=True, slots=True)
class BenchOutlook:
    """organisms: the state of each sibling. runs: of each (arm, sibling). planting_s, running_s (by
    arm): seconds still to go. timed: of how many plantings and runs the times on record were averaged; 0 is assumed."""

    organisms: Mapping[str, State]
    runs: Mapping[tuple[str, str], Progress]
    planting_s: float
    running_s: Mapping[str, float]
    timed_plantings: int
    timed_runs: int


def outlook(bench: Bench, planting: Planting | None = None) -> BenchOutlook:
    """From the folders alone. Raises UserError where an organism is another one, or a run is damaged."""
    how = planting or Planting()
    organisms = {s: family.state(bench.organism(s), FAMILY[s], how) for s in bench.siblings}
    planted = [family.seconds(bench.organism(s)) for s, state in organisms.items() if state == "planted"]
    plantings = [taken for taken in planted if taken]
    runs = {job: _progress(bench, *job) for job in bench.jobs}
    spent = {job: seconds(bench.root(*job)) for job, state in runs.items() if state != "to do"}
    finished = {job: taken for job, taken in spent.items() if runs[job] == "done"}
    left = {
        job: max(0.0, _usual(finished, job[0]) - spent.get(job, 0.0))
        for job, state in runs.items()
        if state != "done"
    }
    return BenchOutlook(
        organisms,
        runs,
        sum(state != "planted" for state in organisms.values()) * _mean(plantings, PLANTING_S),
        {arm: sum(s for (name, _), s in left.items() if name == arm) for arm in bench.arms},
        len(plantings),
        len(finished),
    )


def _progress(bench: Bench, arm: str, sibling: str) -> Progress:
    root = bench.root(arm, sibling)
    if (root / OUTCOME).is_file():
        return "done"
    return "begun" if (root / CONFIG).is_file() else "to do"


def _usual(finished: Mapping[tuple[str, str], float], arm: str) -> float:
    """What a run of this arm takes; going by all arms where none of it is finished."""
    own = [taken for (name, _), taken in finished.items() if name == arm]
    return _mean(own or finished.values(), RUN_S)


def _mean(values: Iterable[float], otherwise: float) -> float:
    known = list(values)
    return fmean(known) if known else otherwise
