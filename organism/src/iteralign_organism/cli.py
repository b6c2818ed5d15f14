"""`iteralign organism train` and `plant`: entry points that iteralign's command line finds."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from iteralign.cli.progress import OnProgress

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
    from iteralign_organism.recipe import Recipe
    from iteralign_organism.train import train

    with _working("training the organism", out) as on_progress:
        train(out, Recipe(seed=seed, minutes=minutes or 0.0), on_progress)


def plant(gaps: GapsOption, out: OutOption, seed: SeedOption = 0) -> None:
    """Make a sibling with other gaps, in minutes."""
    from iteralign.cli import target

    names = _gaps(gaps)
    target.free(out)
    from iteralign_organism.plant import plant

    with _working("planting the gaps", out) as on_progress:
        plant(out, names, seed, on_progress=on_progress)


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


@contextmanager
def _working(what: str, out: Path) -> "Iterator[OnProgress]":
    from iteralign.cli import terminal
    from iteralign.cli.progress import status_line

    with status_line(what) as on_progress:
        yield on_progress
    terminal.note(f"wrote {out}; see it with: iteralign organism describe {terminal.shell_word(str(out))}")
