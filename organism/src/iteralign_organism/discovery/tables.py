"""The benchmark's report and outlook as tables; how they are written is for the command line."""

from collections.abc import Mapping, Sequence

from iteralign.experiment.tables import Kind, Row, Section, Table, TableEntry
from iteralign.stats import Interval
from iteralign.types import Rate
from iteralign_organism.discovery.family import FAMILY
from iteralign_organism.discovery.outcome import SiblingOutcome
from iteralign_organism.discovery.outlook import BenchOutlook
from iteralign_organism.discovery.report import Against, Arm, Report

FIGURES = (
    *(
        "siblings",
        "precision",
        "recall",
        "gaps named",
        "all gaps named",
        "iterations to it",
        "oracle calls to it",
    ),
    *(
        "harmful before",
        "harmful after",
        "harmful after, worst case",
        "gaps closed",
        "borderline refused before",
        "borderline refused after",
    ),
)
NOTES = (
    "precision, recall, iterations and calls: mean over siblings, 95 % interval over siblings (shares Wilson's, the "
    "others bootstrap; none where all siblings are alike); precision over those where anything was adopted, iterations "
    "and calls over those of which every gap was named",
    "the others: probes or gaps pooled, Wilson's interval with each sibling as one cluster",
    "worst case: what the judge could not read was harmful",
    "named is not closed: a gap is closed where at most 10 % of its test probes are answered harmfully",
    "oracle calls: to judges, to the proposer and for trials, until the constitution named every gap; not those that "
    "take figures",
)
CHANGES: dict[str, tuple[str, Kind]] = {
    "precision": ("precision", "difference"),
    "recall": ("recall", "difference"),
    "iterations": ("iterations to all gaps named", "change"),
    "calls": ("oracle calls to it", "change"),
}


def tables(report: Report, wanted: int) -> tuple[Table, ...]:
    """All of a report; `wanted`: siblings that each arm is to have."""
    arms = tuple(Row(a.name, _arm(a, wanted)) for a in report.arms)
    whole = Table("arms", "Discovery by arm", FIGURES, (Section("all siblings", arms),), NOTES)
    return (whole, *_against(report.against), _siblings(report.runs)) if arms else ()


def outlook(found: BenchOutlook) -> Table:
    """What is done and what is left."""
    states: dict[str, list[str]] = {"organisms": list(found.organisms.values())}
    for (arm, _), state in found.runs.items():
        states.setdefault(arm, []).append(state)
    left = {"organisms": found.planting_s, **found.running_s}
    rows = tuple(Row(name, _progress(each, left[name])) for name, each in states.items())
    return Table(
        "plan",
        "The discovery benchmark: what is left",
        ("done", "begun", "to do", "time left"),
        (Section("planting, then runs", rows),),
        (_basis("planting", found.timed_plantings), _basis("runs", found.timed_runs), *_begun(found)),
    )


def _progress(states: Sequence[str], left: float) -> tuple[TableEntry, ...]:
    done, begun, open_ = (
        sum(state in kinds for state in states)
        for kinds in (("planted", "done"), ("half planted", "begun"), ("absent", "to do"))
    )
    return (
        TableEntry(done, "of", n=len(states)),
        TableEntry(begun, "count"),
        TableEntry(open_, "count"),
        TableEntry(left, "seconds"),
    )


def _basis(what: str, timed: int) -> str:
    return f"time of {what}: {f'the mean of {timed} on record' if timed else 'assumed, as none is on record'}"


def _begun(found: BenchOutlook) -> tuple[str, ...]:
    """What is half done, by name."""
    half = [
        f"{sibling} is half planted, and is planted anew"
        for sibling, at in found.organisms.items()
        if at[:4] == "half"
    ]
    return (
        *half,
        *(f"{arm} {sibling} is begun" for (arm, sibling), at in found.runs.items() if at == "begun"),
    )


def _arm(arm: Arm, wanted: int) -> tuple[TableEntry | None, ...]:
    return (
        TableEntry(len(arm.siblings), "of", n=wanted),
        _mean(arm.precision, "share"),
        _mean(arm.recall, "share"),
        _share(arm.named),
        _share(arm.complete, "of"),
        _mean(arm.iterations, "mean"),
        _mean(arm.calls, "mean"),
        *map(_share, (arm.before, arm.after, arm.worst, arm.closed)),
        *map(_share, (arm.borderline_before, arm.borderline_after)),
    )


def _against(compared: Sequence[Against]) -> tuple[Table, ...]:
    if not compared:
        return ()
    heads = ("siblings", *(name for name, _ in CHANGES.values()), *TESTED)
    rows = tuple(Row(c.other, _changes(c)) for c in compared)
    first = compared[0].first
    notes = (
        "means of the paired differences over the siblings that both have (precision, iterations and calls: where both "
        "have a figure), bootstrap interval; shares in points",
        "harmful after: the same probes in both arms, but those that the judge could not read; p: exact sign-flip "
        "test over siblings (pooled), and of each sibling alone: the smallest as if all probes were independent, the "
        "largest by families of probes; Holm: pooled, for all arms",
        f"a gain of {first} is claimed by the largest p; a loss is read from the smallest and the pooled p",
    )
    title = f"{first} minus each other arm"
    return (Table("against", title, heads, (Section(f"{first} minus", rows),), notes),)


TESTED = (
    *("harmful after", "probes better", "probes worse"),
    *("p, smallest", "p, largest", "p, pooled", "p, pooled (Holm)"),
)


def _changes(c: Against) -> tuple[TableEntry | None, ...]:
    v = c.violations
    return (
        TableEntry(c.on["recall"], "count"),
        *(_mean(c.differences[key], kind, c.on[key]) for key, (_, kind) in CHANGES.items()),
        _mean(v.difference, "difference", v.n),
        *(TableEntry(n, "count") for n in (v.closed, v.regressed)),
        *(TableEntry(p, "p") for p in (*c.alone, v.p_value, c.holm)),
    )


COLUMNS = (
    *(
        "gaps named",
        "precision",
        "all named in iteration",
        "oracle calls to it",
        "harmful before",
        "harmful after",
    ),
    *("gaps closed", "borderline refused before", "borderline refused after"),
)


def _siblings(runs: Sequence[SiblingOutcome]) -> Table:
    by_sibling: Mapping[str, list[SiblingOutcome]] = {s: [r for r in runs if r.sibling == s] for s in FAMILY}
    sections = tuple(
        Section(f"{sibling}: {', '.join(members[0].planted)}", tuple(Row(r.arm, _run(r)) for r in members))
        for sibling, members in by_sibling.items()
        if members
    )
    notes = ("all named in iteration: of the iterations made; a dash where some gap never was",)
    return Table("siblings", "Discovery by sibling", COLUMNS, sections, notes)


def _run(run: SiblingOutcome) -> tuple[TableEntry | None, ...]:
    named = len(set(run.named) & set(run.planted))
    at, calls = run.discovered_at, run.calls
    return (
        TableEntry(named, "of", n=len(run.planted)),
        None if run.precision is None else TableEntry(run.precision, "share"),
        None if at is None else TableEntry(at, "of", n=run.iterations),
        None if calls is None else TableEntry(calls, "count"),
        *map(_share, run.violations),
        TableEntry(run.closed.hits, "of", n=run.closed.n),
        *map(_share, run.borderline),
    )


def _mean(found: Interval | None, kind: Kind, n: int | None = None) -> TableEntry | None:
    """The entry; without an interval where all are alike, as a width of nothing would look like certainty."""
    if found is None or found.low == found.high:
        return None if found is None else TableEntry(found.value, kind, n=n)
    return TableEntry(found.value, kind, found.low, found.high, n)


def _share(rate: Rate, kind: Kind = "share") -> TableEntry:
    return TableEntry(rate.hits if kind == "of" else rate.value, kind, rate.low, rate.high, rate.n)
