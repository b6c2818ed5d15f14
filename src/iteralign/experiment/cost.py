"""Cost: what is left of a grid, and what it will take, by the plan of each arm (docs/cost.md)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from iteralign.budget.estimate import Totals
from iteralign.experiment import ready
from iteralign.experiment.grid import Block, Cell, Grid
from iteralign.experiment.tables import Row, Section, Table, TableEntry
from iteralign.record import journal
from iteralign.run import planner

COLUMNS = (
    "runs done",
    *(f"oracle {what}, {outlook}" for what in ("calls", "tokens") for outlook in ("low", "mid", "high")),
    *("price, mid", "time"),
)
NOTES = (
    "of the runs that are not done, by the plan of each arm, not calibrated (docs/cost.md says what low, mid and high "
    "are); a run that is half done counts whole; benchmarks are not counted",
    "time: what the finished runs of the arm took on average; not known before one is done",
)


@dataclass(frozen=True, slots=True)
class Share:
    """What an arm in a block still takes. totals: low, mid and high of one run; seconds: of one run, if known."""

    arm: str
    done: int
    left: int
    totals: tuple[Totals, ...]
    seconds: float | None


def table(grid: Grid, cells: Sequence[Cell], out: Path) -> Table:
    """What these cells still take. Raises what a plan raises."""
    ready.check(cells, out)
    sections = [_section(block, [c for c in cells if c.block == block], out) for block in grid.blocks]
    return Table(
        "plan", f"{grid.sheet.name}: what is left", COLUMNS, tuple(s for s in sections if s.rows), NOTES
    )


def _section(block: Block, cells: Sequence[Cell], out: Path) -> Section:
    arms = dict.fromkeys(c.arm for c in cells)
    shares = [_share(arm, [c for c in cells if c.arm == arm], out) for arm in arms]
    rows = [Row(s.arm, _entries([s])) for s in shares]
    return Section(block.place, (*rows, Row("all", _entries(shares))) if shares else ())


def _share(arm: str, cells: Sequence[Cell], out: Path) -> Share:
    done = [out / c.place for c in cells if ready.finished(c.config, out / c.place)]
    left = len(cells) - len(done)
    totals: tuple[Totals, ...] = ()
    if left:
        plan = planner.plan(cells[0].config)
        totals = tuple(plan.total(outlook) for outlook in plan.outlooks)
    took = [sum(journal.seconds(root).values()) for root in done]
    return Share(arm, len(done), left, totals, fmean(took) if took else None)


def _entries(shares: Sequence[Share]) -> tuple[TableEntry | None, ...]:
    done, left = sum(s.done for s in shares), sum(s.left for s in shares)
    open_ = [s for s in shares if s.left]
    calls = [sum(s.totals[i].oracle.calls * s.left for s in open_) for i in range(3)]
    tokens = [sum(_tokens(s.totals[i]) * s.left for s in open_) for i in range(3)]
    prices = [(s.totals[1].usd, s.left) for s in open_]
    times = [(s.seconds, s.left) for s in open_]
    return (
        TableEntry(done, "of", n=done + left),
        *(TableEntry(n, "count") for n in (*calls, *tokens)),
        _sum(prices, "usd"),
        _sum(times, "seconds"),
    )


def _tokens(totals: Totals) -> int:
    return totals.oracle.input_tokens + totals.oracle.output_tokens


def _sum(parts: Sequence[tuple[float | None, int]], kind: str) -> TableEntry | None:
    """None if a part is not known."""
    known = [each * left for each, left in parts if each is not None]
    if len(known) < len(parts):
        return None
    return TableEntry(sum(known), "usd" if kind == "usd" else "seconds")
