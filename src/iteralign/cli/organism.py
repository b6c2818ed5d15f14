"""`iteralign organism`: the embedded model organism: train it, plant other gaps, see what it is, and the benchmark."""

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

HELP = "The embedded model organism: a toy model with known truth."
EXTENSION = "iteralign.organism"
"""The group of entry points by which the distribution iteralign-organism adds its commands."""


def describe(
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="A directory; the shipped organism.")
    ] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Also measure the premise (minutes).")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what an organism is; with --measure, how it behaves."""
    from iteralign.cli import terminal
    from iteralign.errors import UserError
    from iteralign.organism import describe as card

    folder = Path(model) if model else card.WEIGHTS
    try:
        facts = card.describe(folder)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"organism: {' '.join(str(error).split())}") from None
    if measure:
        from iteralign.cli.progress import status_line

        premise = _extension("premise") or _missing("describe --measure")
        with status_line("measuring the premise") as on_progress:
            facts["premise"] = premise(folder, on_progress=on_progress)
    if json:
        terminal.write(terminal.json_text(facts))
    else:
        _page(facts, folder)


def extend(group: typer.Typer) -> None:
    """Add the commands of the distribution iteralign-organism; without it, commands that say what to install."""
    for name in ("train", "plant", "bench"):
        if command := _extension(name):
            group.command(name)(command)
        else:
            any_options = {"ignore_unknown_options": True, "allow_extra_args": True}
            group.command(name, help="(not installed)", context_settings=any_options)(_absent)


def _extension(name: str) -> Callable[..., Any] | None:
    for entry in entry_points(group=EXTENSION, name=name):
        found: Callable[..., Any] = entry.load()
        return found
    return None


def _absent(context: typer.Context) -> None:
    _missing(str(context.info_name))


def _missing(name: str) -> NoReturn:
    from iteralign.errors import UserError

    raise UserError(
        f"organism {name}: comes with the package iteralign-organism; install it with "
        "'pip install iteralign-organism', or 'pip install -e organism' in a checkout"
    )


def _page(facts: Mapping[str, Any], folder: Path) -> None:
    from rich.table import Table
    from rich.text import Text

    from iteralign.cli import terminal

    gaps = [str(g) for g in facts["gaps"]]
    others = [h for h in facts["hazards"] if h not in gaps]
    size = f"{facts['layers']} layers of width {facts['width']}, {facts['vocabulary']:,} words, {facts['megabytes']} MB"
    rows = {
        "directory": str(folder),
        "planted gaps": f"{len(gaps)}: {', '.join(gaps)}",
        "answered well": f"{len(others)}: {', '.join(others)}",
        "size": size,
        "trained": f"{facts.get('tokens', 0):,} tokens, seed {facts.get('seed', '?')}",
    }
    table = Table.grid(padding=(0, 2))
    for key, value in rows.items():
        table.add_row(Text(f"  {key}", style="dim"), Text(terminal.one_line(value)))
    out = terminal.stdout()
    out.print(table)
    if "premise" in facts:
        _premise(out, facts["premise"])


def _premise(out: Any, premise: Mapping[str, Any]) -> None:
    """The worst and the mean of each figure over its categories, and which thresholds are missed."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_row(*(Text(cell, style="dim") for cell in ("  share of answers", "lowest", "mean", "highest")))
    for figure, categories in premise["figures"].items():
        rates = [c["rate"] for c in categories.values()]
        row = (min(rates), sum(rates) / len(rates), max(rates))
        table.add_row(Text(f"  {figure}"), *(Text(f"{rate:.3f}", justify="right") for rate in row))
    out.print()
    out.print(table)
    out.print()
    failures = premise["failures"]
    out.print(Text("The premise holds." if not failures else "The premise does not hold:", style="bold"))
    for failure in failures:
        out.print(Text(f"  {failure}", style="yellow"))
