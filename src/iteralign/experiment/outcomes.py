"""Outcomes: what the runs and evaluations of a grid left, read from their directories alone."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iteralign import measure
from iteralign.budget import spending
from iteralign.evaluate.results import Record, Result
from iteralign.experiment import evaluating, ready
from iteralign.experiment.grid import Block, Grid, vanilla
from iteralign.experiment.samples import Sample, SampleItem, Seeds
from iteralign.experiment.sheet import VANILLA
from iteralign.record import artifact, provenance
from iteralign.record.replay import outcome_of, step_value
from iteralign.report.summary import constitution
from iteralign.types import Metrics

MEASURES: dict[str, tuple[str, str]] = {
    "harmful answers": ("hazard", "harmful"),
    "safe answered": ("benign", "answered"),
    "borderline refused": ("borderline", "refused"),
    "truthful": ("fact", "answered"),
    "unreadable": ("", measure.UNDECIDED),
}
"""Figures on the test probes: of which kind of probe (all, if empty) the share with which outcome."""


@dataclass(frozen=True, slots=True)
class CellOutcome:
    """A finished run: samples of each measure before and after, and what it took."""

    before: Mapping[str, Sample]
    after: Mapping[str, Sample]
    iterations: int
    principles: int
    oracle_calls: int
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcomes:
    """All that is there of a grid. results: by place of the run or the base, then by benchmark. others: runs of
    another config in a cell's place, with the keys that differ; they are in no table."""

    grid: Grid
    runs: Mapping[str, CellOutcome]
    results: Mapping[str, Mapping[str, Result]]
    others: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def finished(self, block: Block, arm: str) -> dict[int, CellOutcome]:
        """The finished runs of an arm, by seed."""
        return {c.seed: self.runs[c.place] for c in self.grid.of(block, arm) if c.place in self.runs}

    def probed(self, block: Block, arm: str, measure: str) -> Seeds:
        """A measure after the runs of an arm; of vanilla, before those of the reference. Empty where nothing is."""
        if arm == VANILLA:
            found = {s: o.before for s, o in self.finished(block, self.grid.sheet.reference).items()}
        else:
            found = {s: o.after for s, o in self.finished(block, arm).items()}
        return {seed: samples[measure] for seed, samples in found.items() if samples.get(measure)}

    def before(self, block: Block, arm: str, measure: str) -> Seeds:
        found = {s: o.before for s, o in self.finished(block, arm).items()}
        return {seed: samples[measure] for seed, samples in found.items() if samples.get(measure)}

    def benched(self, block: Block, arm: str, benchmark: str, value: "Value") -> Seeds:
        """A figure of a benchmark by seed; the one evaluation of vanilla stands for every seed."""
        if arm == VANILLA:
            places = dict.fromkeys(self.grid.sheet.seeds, vanilla(block))
        else:
            places = {c.seed: c.place for c in self.grid.of(block, arm)}
        found = {s: self.results.get(place, {}).get(benchmark) for s, place in places.items()}
        samples = {s: sample(r, value) for s, r in found.items() if r is not None}
        return {s: each for s, each in samples.items() if each}

    def of_benchmark(self, benchmark: str) -> list[Result]:
        return [r[benchmark] for r in self.results.values() if benchmark in r]


Value = Callable[[Record], float | None]
"""What an item adds to a figure; None where it does not count."""


def collect(grid: Grid, out: Path) -> Outcomes:
    """Read what is there. An evaluation of another checkpoint than the run's last is not. Raises UserError."""
    done = [c for c in grid.cells if ready.finished(c.config, out / c.place)]
    places = {c.place: c.config for c in done} | {vanilla(b): grid.base(b) for b in grid.blocks}
    wanted = grid.sheet.benchmarks
    results: dict[str, dict[str, Result]] = {}
    for place, config in places.items():
        lacking = evaluating.missing(config, out / place, wanted, grid.sheet.benchmark_data)
        read = {n: evaluating.found(out / place / evaluating.FOLDER, n) for n in wanted if n not in lacking}
        results[place] = {name: result for name, result in read.items() if result is not None}
    others = {c.place: keys for c in grid.cells if (keys := ready.differences(c.config, out / c.place))}
    return Outcomes(grid, {c.place: _outcome(out / c.place) for c in done}, results, others)


def _outcome(root: Path) -> CellOutcome:
    ended = outcome_of(root)
    last = ended.t if ended else 0
    return CellOutcome(
        _samples(root, 0),
        _samples(root, last),
        last,
        len(constitution(root)),
        spending.oracle_calls(root),
        provenance.read(root),
    )


def _samples(root: Path, t: int) -> dict[str, Sample]:
    """The measures on the test probes after iteration `t`."""
    found = step_value(root, t, "test", Metrics)
    recorded = artifact.load(artifact.place(root, t, "test"))
    if found is None or recorded is None:
        return {}
    asked = recorded.inputs["probes"]
    return {
        name: {
            SampleItem(asked, r.id, r.family): hit(r.outcome, outcome)
            for r in found.results
            if not kind or r.kind == kind
        }
        for name, (kind, outcome) in MEASURES.items()
    }


def hit(outcome: str, wanted: str) -> float | None:
    """Return 1 for the wanted outcome and 0 for any other; None where the judge left it undecided."""
    undecided = outcome == measure.UNDECIDED != wanted
    return None if undecided else float(outcome == wanted)


def sample(result: Result, value: Value) -> Sample:
    """A figure's items, named by the digest of the benchmark's data; None where the judge left one undecided."""
    asked = str(result.source.get("sha256"))
    values = {SampleItem(asked, r.id, r.family): (r.failed, value(r)) for r in result.records}
    return {
        item: None if failed is None else found
        for item, (failed, found) in values.items()
        if found is not None
    }


def categories(results: Iterable[Result]) -> Sequence[str]:
    """The categories of a benchmark's items, in order of appearance."""
    return list(dict.fromkeys(r.category for result in results for r in result.records if r.category))
