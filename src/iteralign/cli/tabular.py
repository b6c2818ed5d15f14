"""Tabular: the tables of an experiment as text, Markdown, LaTeX and CSV. No word reaches any of them unescaped."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from iteralign.cli import terminal, words
from iteralign.cli.terminal import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    from iteralign.experiment.tables import Section, Table, TableEntry

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|#~])")
_LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "–": "--",
        "−": "$-$",
        "…": r"\dots{}",
    },
}


def value(entry: "TableEntry | None") -> str:
    """The figure alone; a dash where there is none."""
    if entry is None:
        return words.ABSENT
    return VALUES[entry.kind](entry)


def interval(entry: "TableEntry | None") -> str:
    """Its interval; of shares in percent."""
    if entry is None or entry.low is None or entry.high is None or entry.kind == "range":
        return ""
    return _between(entry)


def _between(entry: "TableEntry") -> str:
    low, high = entry.low or 0.0, entry.high or 0.0
    if entry.kind in ("difference", "change"):
        told = _signed if entry.kind == "difference" else _change
        return f"{told(low)} to {told(high)}"
    told = _number if entry.kind == "mean" else _percent
    return f"{told(low)}–{told(high)}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _number(value: float) -> str:
    return f"{value:,.1f}" if abs(value) < 100 else f"{value:,.0f}"


def _change(value: float) -> str:
    sign = "−" if value < 0 else "+"
    return f"{sign}{_number(abs(value))}"


def _signed(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")


def _p(value: float) -> str:
    if value == 0:  # smaller than a number can be
        return "< 1e-300"
    return f"{value:.2g}" if value >= 1e-4 else f"{value:.0e}"


VALUES: "dict[str, Callable[[TableEntry], str]]" = {
    "share": lambda e: f"{100 * e.value:.1f} %",
    "difference": lambda e: _signed(e.value),
    "mean": lambda e: _number(e.value),
    "change": lambda e: _change(e.value),
    "p": lambda e: _p(e.value),
    "count": lambda e: f"{e.value:,.0f}",
    "of": lambda e: f"{e.value:.0f} of {e.n}",
    "range": _between,
    "usd": lambda e: words.money(e.value) if e.value else "none",
    "seconds": lambda e: words.duration(round(e.value)),
}


def _cell(entry: "TableEntry | None") -> str:
    inside = interval(entry)
    return f"{value(entry)} ({inside})" if inside else value(entry)


def text(out: "Console", table: "Table") -> None:
    """The table on a screen, as many columns beside each other as fit; an interval stands under its value."""
    from rich.text import Text

    out.print()
    out.print(Text(one_line(table.title), style="bold"))
    for section in table.sections:
        out.print(Text(f"  {one_line(section.heading)}"))
        for pane in _panes(table.columns, section, out.width):
            out.print(_grid(table.columns, section, pane))
    for note in table.notes:
        out.print(Text(f"  {one_line(note)}", style="dim"))


INDENT, GAP = 4, 2


def _panes(columns: "Sequence[str]", section: "Section", width: int) -> "list[list[int]]":
    """The columns, cut into groups that are no wider than `width` each, labels included."""
    labels = INDENT + max((len(one_line(r.label)) for r in section.rows), default=0)
    panes: list[list[int]] = [[]]
    used = labels
    for i in range(len(columns)):
        needs = GAP + _width(columns[i], [row.entries[i] for row in section.rows])
        if panes[-1] and used + needs > width:
            panes.append([])
            used = labels
        panes[-1].append(i)
        used += needs
    return panes


def _width(column: str, entries: "Sequence[TableEntry | None]") -> int:
    parts = [*one_line(column).split(), *map(value, entries), *map(interval, entries)]
    return max(map(len, parts), default=0)


def _grid(columns: "Sequence[str]", section: "Section", pane: "Sequence[int]") -> "RichTable":
    from rich.table import Table as RichTable
    from rich.text import Text

    grid = RichTable.grid(padding=(0, GAP, 0, 0))
    grid.add_column(no_wrap=True)
    for i in pane:
        wide = _width(columns[i], [row.entries[i] for row in section.rows])
        grid.add_column(justify="right", width=wide, vertical="top")
    grid.add_row("", *(Text(one_line(columns[i]), style="dim", justify="right") for i in pane))
    for row in section.rows:
        label = Text(f"{' ' * INDENT}{one_line(row.label)}")
        grid.add_row(label, *(_stacked(row.entries[i]) for i in pane))
    return grid


def _stacked(entry: "TableEntry | None") -> "Text":
    from rich.text import Text

    found = Text(value(entry), justify="right")
    inside = interval(entry)
    return found.append(f"\n{inside}", style="dim") if inside else found


def markdown(tables: "Sequence[Table]", facts: Sequence[str]) -> str:
    return "\n".join([*map(_markdown_table, tables), *(f"- {_md(fact)}" for fact in facts)]) + "\n"


def _markdown_table(table: "Table") -> str:
    lines = [f"### {_md(table.title)}", ""]
    for section in table.sections:
        lines += [f"**{_md(section.heading)}**", ""]
        lines.append(_piped(["", *map(_md, table.columns)]))
        lines.append(_piped(["---", *("---:" for _ in table.columns)]))
        lines += [_piped([_md(row.label), *(_md(_cell(e)) for e in row.entries)]) for row in section.rows]
        lines.append("")
    return "\n".join([*lines, *(f"- {_md(note)}" for note in table.notes), ""])


def _piped(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _md(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", one_line(text))


def latex(tables: "Sequence[Table]", facts: Sequence[str]) -> str:
    said = "".join(f"% {one_line(fact)}\n" for fact in facts)
    return f"% needs the package booktabs\n{said}" + "\n".join(map(_latex_table, tables))


def _latex_table(table: "Table") -> str:
    wide = len(table.columns) + 1
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{_tex(table.title)}}}"]
    lines += [rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}", r"\toprule"]
    lines.append(_rowed(["", *map(_tex, table.columns)]))
    for section in table.sections:
        lines += [r"\midrule", rf"\multicolumn{{{wide}}}{{l}}{{{_tex(section.heading)}}} \\"]
        lines += [_rowed([_tex(row.label), *(_tex(_cell(e)) for e in row.entries)]) for row in section.rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join(
        [*lines, *(rf"\par {{\footnotesize {_tex(n)}}}" for n in table.notes), r"\end{table}", ""]
    )


def _rowed(cells: Iterable[str]) -> str:
    return rf"{' & '.join(cells)} \\"


def _tex(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in one_line(text))


HEAD = ("table", "section", "row", "column", "kind", "value", "low", "high", "n")


def comma_separated(tables: "Sequence[Table]") -> str:
    """One line a figure, raw: shares from 0 to 1. A figure that is missing has no value."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEAD)
    for table in tables:
        for section in table.sections:
            for row in section.rows:
                for column, entry in zip(table.columns, row.entries, strict=True):
                    names = map(_plain, (table.name, section.heading, row.label, column))
                    writer.writerow((*names, *_raw(entry)))
    return out.getvalue()


def _raw(entry: "TableEntry | None") -> tuple[object, ...]:
    if entry is None:
        return ("", "", "", "", "")
    return (entry.kind, entry.value, *("" if v is None else v for v in (entry.low, entry.high, entry.n)))


def _plain(text: str) -> str:
    """A word that no spreadsheet takes for a formula."""
    clean = one_line(text)
    return f"'{clean}" if clean[:1] in ("=", "+", "-", "@") else clean


FORMATS = ("text", "markdown", "latex", "csv")


def show(tables: "Sequence[Table]", facts: Sequence[str], format: str) -> None:
    """The tables on stdout, and what stands under them."""
    from rich.text import Text

    if format == "text":
        out = terminal.stdout()
        with terminal.trimmed(out):
            for table in tables:
                text(out, table)
            out.print()
            for fact in facts:
                out.print(Text(one_line(fact), style="dim"))
    elif format == "csv":  # a comment would be no CSV
        for fact in facts:
            terminal.note(fact)
        terminal.write(comma_separated(tables))
    else:
        terminal.write(markdown(tables, facts) if format == "markdown" else latex(tables, facts))
