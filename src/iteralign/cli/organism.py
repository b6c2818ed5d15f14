"""`iteralign organism`: the embedded model organism: train it, plant other gaps, see what it is, and the benchmark."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from iteralign.cli import bench

HELP = "The embedded model organism: a toy model with known truth."
LINE_EVERY_S = 30.0
OnProgress = Callable[[Mapping[str, Any]], None]

OutOption = Annotated[Path, typer.Option(metavar="DIR", help="Where the model directory is written.")]
SeedOption = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the training.")]
GapsOption = Annotated[
    str, typer.Option(metavar="A,B,C", help="The hazards that the model is to answer badly.")
]


def train(
    out: OutOption,
    seed: SeedOption = 1,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.1, max=100_000, help="Train for so long; the recipe's own length if left out."),
    ] = None,
) -> None:
    """Train the organism from scratch."""
    from iteralign.cli import target

    target.free(out)
    from iteralign.organism.recipe import Recipe
    from iteralign.organism.train import train

    with _working("training the organism", out) as on_progress:
        train(out, Recipe(seed=seed, minutes=minutes or 0.0), on_progress)


def plant(gaps: GapsOption, out: OutOption, seed: SeedOption = 0) -> None:
    """Make a sibling with other gaps, in minutes."""
    from iteralign.cli import target

    names = _gaps(gaps)
    target.free(out)
    from iteralign.organism.plant import plant

    with _working("planting the gaps", out) as on_progress:
        plant(out, names, seed, on_progress=on_progress)


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
        from iteralign.organism.probes import premise

        with progress("measuring the premise") as on_progress:
            facts["premise"] = premise(folder, on_progress=on_progress)
    if json:
        terminal.write(terminal.json_text(facts))
    else:
        _page(facts, folder)


COMMANDS = {"train": train, "plant": plant, "describe": describe, "bench": bench.command}


def _gaps(text: str) -> tuple[str, ...]:
    from iteralign.errors import UserError, unknown
    from iteralign.organism.world import HAZARDS

    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in HAZARDS:
            raise unknown("--gaps", name, HAZARDS)
    if not names:
        raise UserError(f"--gaps: names no hazard; allowed: {', '.join(HAZARDS)}")
    return names


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


@contextmanager
def _working(what: str, out: Path) -> Iterator[OnProgress]:
    from iteralign.cli import terminal

    with progress(what) as on_progress:
        yield on_progress
    terminal.note(f"wrote {out}; see it with: iteralign organism describe {terminal.shell_word(str(out))}")


@contextmanager
def progress(what: str) -> Iterator[OnProgress]:
    """A status line on a terminal; elsewhere a line every half minute. On stderr, as stdout is for results."""
    from iteralign.cli import terminal

    console = terminal.stderr()
    if terminal.is_live(console.file):
        with console.status(f"{what} …") as status:
            yield lambda event: status.update(f"{what}: {_told(event)}")
        return
    said = [float("-inf")]

    def say(event: Mapping[str, Any]) -> None:
        if time.monotonic() - said[0] >= LINE_EVERY_S:
            said[0] = time.monotonic()
            terminal.note(f"{what}: {_told(event)}")

    yield say


def _told(event: Mapping[str, Any]) -> str:
    """An event of the trainer, of the measurement or of a run in words."""
    from iteralign.cli.words import duration

    parts: dict[str, Callable[[Any], str]] = {
        "progress": lambda v: f"{100 * v:.0f} %",
        "tokens": lambda v: f"{v:,} tokens",
        "loss": lambda v: f"loss {v:.3f}",
        "seconds": duration,
        "figure": str,
        "rate": lambda v: f"{v:.3f}",
        "doing": str,
    }
    return ", ".join(tell(event[key]) for key, tell in parts.items() if key in event)
