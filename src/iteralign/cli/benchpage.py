"""What `iteralign organism bench` shows: one set of tables, as text, as Markdown, or all of it as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from iteralign.cli import terminal, words

if TYPE_CHECKING:
    from iteralign.run.bench.outcome import Outcome
    from iteralign.run.bench.outlook import Outlook
    from iteralign.run.bench.report import Against, Arm, Report
    from iteralign.stats import Interval
    from iteralign.types import Rate

NOTE = (
    "Precision, recall, iterations and calls: mean over siblings (bootstrap over siblings); iterations and calls only "
    "over those of which every planted gap was named. The others: probes or gaps pooled over siblings (Wilson). Named is "
    "not closed: a gap is closed where at most 10 % of its test probes are answered harmfully. Calls: to judges, to the "
    "proposer and for trials until the constitution named every gap, without those that take figures. Complete at: the "
    "iteration in which the last planted gap was named, of those made."
)


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure and, apart from it, its interval or n."""

    value: str
    more: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A head may have two lines. gap: blanks between columns of text."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    gap: int = 2


def report(found: "Report", format: str) -> None:
    """Print the report."""
    if format == "json":
        terminal.write(terminal.json_text({"schema": 1, **report_json(found)}))
        return
    tables = [_arms(found.arms), _against(found.against), _siblings(found.runs)] if found.runs else []
    notes = [NOTE] if found.runs else ["no run of it is finished"]
    if found.missing:
        notes.append(f"not finished: {', '.join(found.missing)}")
    if found.commits:
        notes.append(f"made by commit {', '.join(found.commits)}")
    _write([t for t in tables if t.rows], notes, format)


def report_json(found: "Report") -> dict[str, Any]:
    """The report as docs/organism.md describes it: all but the single probes."""
    from iteralign.run.codec import encode

    written: dict[str, Any] = encode(found)
    for run in written["runs"]:
        del run["hazards"]
    return written


def outlook(found: "Outlook", format: str) -> None:
    """Print what is done and left."""
    if format == "json":
        terminal.write(terminal.json_text({"schema": 1, **outlook_json(found)}))
        return
    states = {"organisms": dict(found.organisms)}
    for (arm, sibling), state in found.runs.items():
        states.setdefault(arm, {})[sibling] = state
    kinds = ("planted", "done", "half planted", "begun", "absent", "to do")
    rows = [
        (Cell(name), *(Cell(" ".join(s for s, at in each.items() if at in kinds[i : i + 2])) for i in (0, 2, 4)))
        for name, each in states.items()
    ]
    _write([Table("The discovery benchmark", ("", "done", "begun", "to do"), tuple(rows))], _times(found), format)


def outlook_json(found: "Outlook") -> dict[str, Any]:
    runs: dict[str, dict[str, str]] = {}
    for (arm, sibling), state in found.runs.items():
        runs.setdefault(arm, {})[sibling] = state
    rest = {f.name: getattr(found, f.name) for f in fields(found) if f.name not in ("organisms", "runs")}
    return {"organisms": dict(found.organisms), "runs": runs, **rest}


def _times(found: "Outlook") -> list[str]:
    def said(what: str, seconds: float, timed: int) -> str:
        basis = f"going by {timed} on record" if timed else "assumed, none is on record"
        return f"{what}: about {words.duration(round(seconds))} to go ({basis})" if seconds else f"{what}: done"

    return [
        said("planting", found.planting_s, found.timed_plantings),
        said("runs", found.running_s, found.timed_runs),
    ]


def _arms(arms: "Sequence[Arm]") -> Table:
    named = [(f"{a.complete.hits} of {a.complete.n}") for a in arms]
    rows = {
        "precision": [_mean(a.precision) for a in arms],
        "recall": [_mean(a.recall) for a in arms],
        "every gap named": [Cell(n, _range(a.complete)) for n, a in zip(named, arms, strict=True)],
        "iterations until then": [_mean(a.iterations) for a in arms],
        "oracle calls until then": [_mean(a.calls, 0) for a in arms],
        "harmful before": [_share(a.before) for a in arms],
        "harmful after": [_share(a.after) for a in arms],
        "gaps closed": [Cell(f"{a.closed.hits} of {a.closed.n}", _range(a.closed)) for a in arms],
        "borderline refused before": [_share(a.borderline_before) for a in arms],
        "borderline refused after": [_share(a.borderline_after) for a in arms],
    }
    head = ("", *(f"{a.name} ({len(a.siblings)})" for a in arms))
    return Table("By arm (siblings)", head, tuple((Cell(name), *cells) for name, cells in rows.items()))


def _against(compared: "Sequence[Against]") -> Table:
    digits = {"recall": 2, "precision": 2, "iterations": 2, "calls": 0}
    rows = [
        (Cell(f"{name}, n"), *(_change(c.differences[name], c.on[name], d) for c in compared))
        for name, d in digits.items()
    ]
    rows.append((Cell("harmful after"), *(_difference(c.violations.difference) for c in compared)))
    moved = [(f"{c.violations.closed} : {c.violations.regressed}", c.violations.n) for c in compared]
    rows.append((Cell("probes better : worse"), *(Cell(text, f"n = {n}") for text, n in moved)))
    rows.append((Cell("McNemar p (Holm)"), *(Cell(f"{c.violations.p_value:.2g}", f"{c.holm:.2g}") for c in compared)))
    first = compared[0].first if compared else ""
    return Table(f"{first} minus …", ("", *(c.other for c in compared)), tuple(rows) if compared else ())


def _siblings(runs: "Sequence[Outcome]") -> Table:
    head = ("", "arm", "named", "precision", "complete\nat", "calls", "harmful", "closed", "borderline\nrefused")
    return Table("By sibling", head, tuple(map(_sibling, runs)), gap=1)


def _sibling(run: "Outcome") -> tuple[Cell, ...]:
    found = len(set(run.named) & set(run.planted))
    texts = (
        run.sibling,
        run.arm,
        f"{found}/{len(run.planted)}",
        words.ABSENT if run.precision is None else f"{run.precision:.2f}",
        f"{run.discovered_at or words.ABSENT} of {run.iterations}",
        words.ABSENT if run.calls is None else f"{run.calls:,}",
        _both(run.violations),
        f"{run.closed.hits}/{run.closed.n}",
        _both(run.borderline),
    )
    return tuple(map(Cell, texts))


def _both(rates: "tuple[Rate, Rate]") -> str:
    before, after = rates
    return f"{100 * before.value:.1f}→{100 * after.value:.1f} %"


def _mean(value: "Interval | None", digits: int = 2) -> Cell:
    if value is None:
        return Cell(words.ABSENT)
    return Cell(f"{value.value:,.{digits}f}", f"{value.low:,.{digits}f}–{value.high:,.{digits}f}")


def _change(value: "Interval | None", n: int, digits: int) -> Cell:
    if value is None:
        return Cell(words.ABSENT)
    low, high = (f"{v:+,.{digits}f}" for v in (value.low, value.high))
    return Cell(f"{value.value:+,.{digits}f}, {n}", f"{low} to {high}")


def _difference(value: "Interval") -> Cell:
    low, high = (f"{100 * v:+.1f}" for v in (value.low, value.high))
    return Cell(f"{100 * value.value:+.1f} points", f"{low} to {high}")


def _share(rate: "Rate") -> Cell:
    return Cell(f"{100 * rate.value:.1f} %", f"{_range(rate)}, n = {rate.n}")


def _range(rate: "Rate") -> str:
    return f"{100 * rate.low:.1f}–{100 * rate.high:.1f} %"


def _write(tables: Sequence[Table], notes: Sequence[str], format: str) -> None:
    if format == "markdown":
        terminal.write("\n\n".join([*map(_markdown, tables), *notes]))
        return
    from rich.padding import Padding
    from rich.text import Text

    out = terminal.stdout()
    with terminal.trimmed(out):
        for table in tables:
            _text(out, table)
        out.print()
        for note in notes:
            out.print(Padding(Text(terminal.one_line(note), style="dim"), (0, 0, 0, 2)))


def _markdown(table: Table) -> str:
    def cell(c: Cell) -> str:
        return f"{c.value} ({c.more})" if c.more else c.value

    rows = [tuple(h.replace("\n", " ") for h in table.head), ("---",) * len(table.head), *(tuple(map(cell, row)) for row in table.rows)]
    return "\n".join([f"{table.title}\n", *(f"| {' | '.join(row)} |" for row in rows)])


def _text(out: Any, table: Table) -> None:
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid.grid(padding=(0, table.gap))
    for i in range(len(table.head)):
        grid.add_column(justify="left" if i == 0 else "right")
    grid.add_row(*(Text(f"  {h}" if i == 0 else h, style="dim") for i, h in enumerate(table.head)))
    for row in table.rows:
        grid.add_row(*(_cell(c, i == 0) for i, c in enumerate(row)))
    out.print()
    out.print(Text(table.title, style="bold"))
    out.print(grid)


def _cell(cell: Cell, first: bool) -> Any:
    from rich.text import Text

    shown = Text(f"  {cell.value}" if first else cell.value)
    return shown.append(f"\n{cell.more}", style="dim") if cell.more else shown
