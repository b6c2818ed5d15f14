"""Tables: what an experiment found, as values; how they are written is for `formats` and the command line.

An entry that is missing is None, never zero.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import Literal

from iteralign import stats
from iteralign.experiment.bench import COLUMNS, Column, columns
from iteralign.experiment.grid import Block
from iteralign.experiment.outcomes import MEASURES, CellOutcome, Outcomes
from iteralign.experiment.samples import Contrast, Pooled, Seeds, contrast, pooled
from iteralign.experiment.sheet import VANILLA

Kind = Literal["share", "mean", "difference", "change", "p", "count", "of", "range", "usd", "seconds"]


@dataclass(frozen=True, slots=True)
class TableEntry:
    """A figure. kind: a share or a difference of shares (0 to 1), a mean or a change of one, a p-value, a count, a
    count `of` n, a range of shares (low to high) whose value is the mean, money, time. n: items, or runs."""

    value: float
    kind: Kind
    low: float | None = None
    high: float | None = None
    n: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    label: str
    entries: tuple[TableEntry | None, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """Rows that are compared with each other: those of one block, or of one figure in it."""

    heading: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    title: str
    columns: tuple[str, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()


def tables(outcomes: Outcomes) -> tuple[Table, ...]:
    """All tables of an experiment; of benchmarks only those that it asks for."""
    asked = outcomes.grid.sheet.benchmarks
    benches = [t for t in COLUMNS if any(b in asked for b in COLUMNS[t])]
    return (runs(outcomes), *(benchmarks(outcomes, t) for t in benches), tests(outcomes))


POOLED = (
    "intervals: 95 %, Wilson's by clusters: items of one family (a fact, a template), and all seeds of an item, "
    "count together"
)
NOT_EXERCISED = "{} (not exercised)"
WORST = "{}, worst case"


def runs(outcomes: Outcomes) -> Table:
    """What became of the runs, on their test probes."""
    shares = tuple(MEASURES)
    harm = (
        *(f"{shares[0]} {when}" for when in ("before", "after")),
        WORST.format(shares[0]),
        f"{shares[0]} by seed",
    )
    heads = ("seeds", *harm, *shares[1:], *TOOK)
    sections = [_section(outcomes, b, partial(_run_entries, outcomes, b)) for b in outcomes.grid.blocks]
    notes = (
        f"shares of the test probes, mean over seeds; {POOLED}",
        "vanilla: the untrained base, asked as the reference arm asks (its figures before training)",
        "by seed: from the lowest to the highest share of one seed",
        "iterations, principles adopted and oracle calls: mean over seeds",
        "what the judge could not read counts as unreadable and stays in the denominator of every share; worst case: "
        "all of it was harmful",
        *_exercise_note(sections),
    )
    return Table("outcomes", "Outcomes by arm", heads, tuple(sections), notes)


TOOK: dict[str, Callable[[CellOutcome], int]] = {
    "iterations": lambda o: o.iterations,
    "principles": lambda o: o.principles,
    "oracle calls": lambda o: o.oracle_calls,
}


def _rows(outcomes: Outcomes) -> Sequence[str]:
    return (VANILLA, *outcomes.grid.arms)


def _section(
    outcomes: Outcomes, block: Block, entries: Callable[[str], tuple[TableEntry | None, ...]]
) -> Section:
    """A row for each arm. One that was not exercised has that in its label, and no interval."""
    rows = []
    for arm in _rows(outcomes):
        if exercised(outcomes, block, arm):
            rows.append(Row(arm, entries(arm)))
        else:
            bare = tuple(None if e is None else _bare(e) for e in entries(arm))
            rows.append(Row(NOT_EXERCISED.format(arm), bare))
    return Section(block.place, tuple(rows))


def _bare(entry: TableEntry) -> TableEntry:
    return entry if entry.kind == "range" else replace(entry, low=None, high=None)


def exercised(outcomes: Outcomes, block: Block, arm: str) -> bool:
    """Return False if every item of every figure came out as the reference's in every seed that both have.

    What such an arm leaves out or adds was never needed: it measures nothing, so it has no interval.
    """
    reference = outcomes.grid.sheet.reference
    if arm in (VANILLA, reference):
        return True
    pairs = [
        (own[seed], theirs[seed])
        for of in _figures(outcomes, block).values()
        for own, theirs in [(of(arm), of(reference))]
        for seed in own.keys() & theirs.keys()
    ]
    return not pairs or any(own != theirs for own, theirs in pairs)


def _exercise_note(sections: Sequence[Section]) -> tuple[str, ...]:
    """What the label means, where a row has it."""
    label = NOT_EXERCISED.format("")
    if not any(row.label.endswith(label) for section in sections for row in section.rows):
        return ()
    return (
        "not exercised: each answer came out as the reference's, in every figure and seed; the arm says nothing "
        "about what it changes",
    )


def _run_entries(outcomes: Outcomes, block: Block, arm: str) -> tuple[TableEntry | None, ...]:
    done = list(outcomes.finished(block, arm).values())
    first, *rest = MEASURES
    before: Seeds = {} if arm == VANILLA else outcomes.before(block, arm, first)
    after = outcomes.probed(block, arm, first)
    seeds = None if arm == VANILLA else TableEntry(len(done), "of", n=len(outcomes.grid.sheet.seeds))
    return (
        seeds,
        _share(pooled(before)),
        _share(pooled(after)),
        _share(pooled(after, undecided=1.0)),
        _range({} if arm == VANILLA else after),
        *(_share(pooled(outcomes.probed(block, arm, m))) for m in rest),
        *(
            TableEntry(fmean(map(took, done)), "mean", n=len(done)) if done else None
            for took in TOOK.values()
        ),
    )


def _share(found: Pooled | None, kind: Kind = "share") -> TableEntry | None:
    if found is None:
        return None
    return TableEntry(found.interval.value, kind, found.interval.low, found.interval.high, found.n)


def _range(seeds: Seeds) -> TableEntry | None:
    """From the lowest to the highest seed."""
    shares = [fmean(value or 0.0 for value in sample.values()) for sample in seeds.values()]
    return TableEntry(fmean(shares), "range", min(shares), max(shares), len(shares)) if shares else None


def benchmarks(outcomes: Outcomes, name: str) -> Table:
    """A figure of a benchmark in each column."""
    shown = columns(name, outcomes)
    sections = [
        _section(outcomes, b, partial(_bench_entries, outcomes, b, shown)) for b in outcomes.grid.blocks
    ]
    notes = (f"mean over seeds; {POOLED}", *_notes(outcomes, shown), *_exercise_note(sections))
    return Table(name, TITLES[name], tuple(c.name for c in shown), tuple(sections), notes)


TITLES = {"truthfulqa": "TruthfulQA", "hhh": "HHH Eval, by category and pooled", "other": "Other benchmarks"}


def _bench_entries(
    outcomes: Outcomes, block: Block, shown: Sequence[Column], arm: str
) -> tuple[TableEntry | None, ...]:
    found = {
        c: pooled(outcomes.benched(block, arm, c.benchmark, c.value), c.signed, c.undecided) for c in shown
    }
    return tuple(_share(each, "difference" if c.signed else "share") for c, each in found.items())


def _notes(outcomes: Outcomes, shown: Sequence[Column]) -> list[str]:
    """What guessing and lengths score, where the benchmark says so; and where one benchmark was of different items."""
    notes = []
    for benchmark in dict.fromkeys(c.benchmark for c in shown):
        results = outcomes.of_benchmark(benchmark)
        for figure in results[0].figures if results else ():
            if figure.chance is not None and any(figure.name == c.figure for c in shown):
                notes.append(f"{figure.name}: guessing scores {100 * figure.chance:.1f} %")
            if figure.name in ("the longest candidate", "the shortest candidate"):
                notes.append(
                    f"{benchmark}: knowing only lengths, {figure.name} scores {100 * figure.value:.1f} %"
                )
        if len({str(r.source.get("sha256")) for r in results}) > 1:
            notes.append(
                f"{benchmark}: not all rows were asked the same items; remove their evaluation folders"
            )
    return notes


def tests(outcomes: Outcomes) -> Table:
    """Every arm against the reference, figure by figure."""
    reference = outcomes.grid.sheet.reference
    found = [s for b in outcomes.grid.blocks for s in _tests(outcomes, b)]
    notes = (
        f"difference: the arm minus {reference}, in percentage points, over the seeds and items that both have, "
        "where the judge could read both; interval: 95 %, bootstrap by clusters (items of one family, all seeds of an "
        "item); Wilson's bound where all items changed alike",
        "p, smallest: of the seeds, each alone, by McNemar's exact test, as if items were independent; p, largest: of "
        "the seeds, by an exact sign-flip test of the clusters; p, pooled: that test over all seeds together; Holm: "
        "pooled, adjusted for the rows of the section",
        f"a gain of {reference} is claimed by the largest p; a loss is read from the smallest and the pooled p",
        *_exercise_note(found),
    )
    heads = (
        "seeds",
        reference,
        "arm",
        "difference",
        "p, smallest",
        "p, largest",
        "p, pooled",
        "p, pooled (Holm)",
    )
    return Table("tests", f"Against {reference}", heads, tuple(found), notes)


def _tests(outcomes: Outcomes, block: Block) -> list[Section]:
    """A section for each figure that the reference has in this block."""
    sections = []
    alike = [arm for arm in _rows(outcomes) if not exercised(outcomes, block, arm)]
    for name, seeds_of in _figures(outcomes, block).items():
        samples = {arm: seeds_of(arm) for arm in _rows(outcomes)}
        reference = samples.pop(outcomes.grid.sheet.reference)
        if reference:
            heading = f"{block.place}: {name}"
            sections.append(Section(heading, _test_rows(samples, reference, alike)))
    return sections


def _figures(outcomes: Outcomes, block: Block) -> Mapping[str, Callable[[str], Seeds]]:
    """What is tested: the figures on the probes, and of each benchmark the corrected or pooled one."""
    probes = {m: (lambda arm, m=m: outcomes.probed(block, arm, m)) for m in MEASURES}
    asked = outcomes.grid.sheet.benchmarks
    tested = [c for t in COLUMNS for c in columns(t, outcomes) if c.tested and c.benchmark in asked]
    benches = {
        f"{c.benchmark}, {c.name}": (lambda arm, c=c: outcomes.benched(block, arm, c.benchmark, c.value))
        for c in tested
    }
    return probes | benches


def _test_rows(arms: Mapping[str, Seeds], reference: Seeds, alike: Sequence[str]) -> tuple[Row, ...]:
    """A row for each arm. Those that are `alike` were not exercised: no test, and none to adjust for."""
    found = {arm: contrast(seeds, reference) for arm, seeds in arms.items()}
    p_values = {arm: c.pooled for arm, c in found.items() if c is not None and arm not in alike}
    adjusted = dict(zip(p_values, stats.holm(list(p_values.values())), strict=True))
    return tuple(
        Row(
            NOT_EXERCISED.format(arm) if arm in alike else arm,
            _test_entries(found[arm], seeds, reference, adjusted.get(arm)),
        )
        for arm, seeds in arms.items()
    )


def _test_entries(
    found: Contrast | None, arm: Seeds, reference: Seeds, adjusted: float | None
) -> tuple[TableEntry | None, ...]:
    shares = _share(pooled(reference)), _share(pooled(arm))
    if found is None:
        return (None, *shares, *[None] * 5)
    if adjusted is None:
        bare = [None if each is None else _bare(each) for each in shares]
        return (
            TableEntry(found.seeds, "count"),
            *bare,
            TableEntry(0.0, "difference", n=found.n),
            *[None] * 4,
        )
    gap, p_values = found.difference, (found.smallest, found.largest, found.pooled, adjusted)
    return (
        TableEntry(found.seeds, "count"),
        *shares,
        TableEntry(gap.value, "difference", gap.low, gap.high, found.n),
        *(TableEntry(p, "p", n=found.n) for p in p_values),
    )
