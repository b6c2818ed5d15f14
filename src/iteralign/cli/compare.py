"""`iteralign compare`: two runs, iterations or evaluations, item by item."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from iteralign.evaluate.compare import Change, Group
    from iteralign.types import Rate

SIDE = "A run, RUN@before, RUN@3 (iteration 3), or what evaluate wrote."
LISTED = 10
"""Items of a kind that are listed on the page; --json has them all."""


def command(
    a: Annotated[str, typer.Argument(metavar="A", help=SIDE)],
    b: Annotated[str, typer.Argument(metavar="B", help="The same, later or changed.")],
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON (docs/evaluate.md) and nothing else on stdout.")
    ] = False,
) -> None:
    """Say which failures of A are closed, still open or new in B."""
    from iteralign.cli import terminal
    from iteralign.evaluate.compare import compare, side
    from iteralign.record.codec import encode

    groups = compare(side(_place(a)), side(_place(b)))
    if json:
        terminal.write(terminal.json_text({"schema": 1, "a": a, "b": b, "groups": encode(groups)}))
        return
    out = terminal.stdout()
    with terminal.trimmed(out):
        for group in groups:
            _show(out, group)
        out.print()


def _place(name: str) -> str:
    """The name, or the run of that name in runs/."""
    from iteralign.cli.target import RUNS, is_run

    run, sign, at = name.partition("@")
    return f"{RUNS / run}{sign}{at}" if is_run(RUNS / run) else name


def _show(out: "Console", group: "Group") -> None:
    from rich.table import Table
    from rich.text import Text

    from iteralign.cli import terminal
    from iteralign.cli.words import many

    p = group.paired
    open_ = f"; {p.undecided} more undecided, in no paired count" if p.undecided else ""
    out.print()
    out.print(Text(f"{terminal.one_line(group.name)}: {many(p.n, 'item')}{open_}", style="bold"))
    test = "McNemar" if p.clusters == p.n else f"sign-flip by {many(p.clusters, 'family', 'families')},"
    change = (
        f": difference {p.difference.value:+.3f} ({p.difference.low:+.3f} to {p.difference.high:+.3f}),"
        f" {test} p = {p.p_value:.3g}, h = {p.effect:+.2f}"
    )
    moved = change if p.closed + p.regressed else ": no item changed"
    for when, (rate, worst) in group.rates.items():
        out.print(f"  {when:<6}  {_rate(rate)}, worst case {_rate(worst)}, of {rate.n}", soft_wrap=True)
    out.print(f"  failures {p.closed + p.still_open} -> {p.regressed + p.still_open}{moved}", soft_wrap=True)
    table = Table.grid(padding=(0, 2))
    heads = ("  ", "closed", "still open", "regressed", "p", "p (Holm)")
    table.add_row(*(Text(t, style="dim") for t in heads))
    table.add_row(*_row("all", p.closed, p.still_open, p.regressed, f"{p.p_value:.3g}", ""))
    for name, (c, holm) in group.categories.items():
        table.add_row(
            *_row(
                terminal.one_line(name),
                c.closed,
                c.still_open,
                c.regressed,
                f"{c.p_value:.3g}",
                f"{holm:.3g}",
            )
        )
    out.print(table)
    for title, changes in (("regressed", group.regressed), ("still open", group.still_open)):
        _list(out, title, changes)


def _rate(rate: "Rate") -> str:
    from iteralign.cli import words
    from iteralign.report.summary import figure

    return words.harm(figure(rate), None)


def _row(name: str, *cells: object) -> "list[Text]":
    from rich.text import Text

    return [Text(f"  {name}"), *(Text(str(c), justify="right") for c in cells)]


def _list(out: "Console", title: str, changes: "tuple[Change, ...]") -> None:
    from iteralign.cli import terminal

    if changes:
        out.print(f"  {title}:")
    for c in changes[:LISTED]:
        out.print(f"    {terminal.one_line(f'{c.id} {c.category}: {c.before} -> {c.after}')}", soft_wrap=True)
    if len(changes) > LISTED:
        out.print(f"    and {len(changes) - LISTED} more (--json)")
