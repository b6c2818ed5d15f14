"""`iteralign experiment`: a grid of runs and the tables that compare them. Running it again goes on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iteralign.cli.run import QuietOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iteralign.experiment.grid import Cell, Grid

RUNS = Path("runs/experiments")
SHOWN = 3
"""Failed cells that the last line names."""


def command(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="A file (docs/experiments.md), or organism, organism-ablations."),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where its runs lie; else runs/experiments/NAME.")
    ] = None,
    only: Annotated[
        str | None, typer.Option(metavar="GLOB", help="Only runs MODEL/REDTEAM/ARM/seed-N that fit.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Tell what is left and what it costs; run nothing.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="The tables of what is there; run nothing.")
    ] = False,
    print: Annotated[
        bool, typer.Option("--print", help="Print the file, to copy it: … > mine.toml; run nothing.")
    ] = False,
    format: Annotated[
        str, typer.Option(metavar="NAME", help="Of the tables: text, markdown, latex or csv.")
    ] = "text",
    quiet: QuietOption = False,
) -> None:
    """Run a grid of models, red-team sets, arms and seeds, and print the tables that compare them.

    Whatever stops it, the same command goes on; started twice, the two share the work.
    """
    from iteralign.experiment import grid as grids

    _one_of(format, {"--plan": plan, "--report": report, "--print": print})
    if print:
        _print_file(file)
        return
    grid = grids.load(file)
    cells, root = grid.only(only), out or RUNS / grid.sheet.name
    if plan:
        _plan(grid, cells, root, format)
        return
    failed = 0 if report else _work(grid, cells, root, quiet)
    _report(grid, root, format)
    if failed:
        raise typer.Exit(2)


def _one_of(format: str, instead: dict[str, bool]) -> None:
    """Raises UserError for a format that there is not, and for two things to do instead of running."""
    from iteralign.cli import tabular
    from iteralign.errors import UserError, unknown

    if format not in tabular.FORMATS:
        raise unknown("--format", format, tabular.FORMATS)
    chosen = [option for option, given in instead.items() if given]
    if len(chosen) > 1:
        raise UserError(f"experiment: {' and '.join(chosen)}: choose one")


def _plan(grid: "Grid", cells: "Sequence[Cell]", root: Path, format: str) -> None:
    from iteralign.cli import tabular
    from iteralign.experiment import cost

    tabular.show([cost.table(grid, cells, root)], [], format)


def _print_file(file: str) -> None:
    from iteralign.cli import terminal
    from iteralign.experiment import sheet

    terminal.write(sheet.text(file))


def _work(grid: "Grid", cells: "Sequence[Cell]", root: Path, quiet: bool) -> int:
    """How many things failed; each has been said."""
    from iteralign.cli import signals, terminal
    from iteralign.cli.progress import Beat
    from iteralign.cli.words import many
    from iteralign.experiment import work

    note = (lambda _: None) if quiet else terminal.note
    beat = Beat(note)

    def tell(place: str, said: str) -> None:
        note(f"{place}: {said}")
        beat.begin(f"{place}: {said.removesuffix(' …')}", said=True)

    try:
        with beat.running():
            failures = work.perform(grid, cells, root, tell)
    except (signals.Stopped, KeyboardInterrupt) as error:
        terminal.note("interrupted; nothing recorded is lost, the same command goes on")
        raise typer.Exit(signals.status_of(error)) from None
    for failure in failures[:SHOWN]:
        terminal.note(f"error: {failure.place}: {failure.error}")
    if failures:
        terminal.note(
            f"error: {many(len(failures), 'job')} failed; the same command tries again what is missing"
        )
    return len(failures)


def _report(grid: "Grid", root: Path, format: str) -> None:
    from iteralign.cli import tabular
    from iteralign.experiment import about, outcomes, tables

    found = outcomes.collect(grid, root)
    tabular.show(tables.tables(found), about.facts(found), format)
