"""`iteralign export`: the policy that a run trained, as a directory that other programs load."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iteralign.cli.show import RunArgument

if TYPE_CHECKING:
    from iteralign.types import Checkpoint


def command(
    run: RunArgument,
    merged: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write a whole model there, the adapter merged into it."),
    ] = None,
    adapter: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the adapter alone there, for its base.")
    ] = None,
    dtype: Annotated[
        str, typer.Option(metavar="NAME", help="Number format of a whole model; auto is the base's own.")
    ] = "auto",
    t: Annotated[
        int | None,
        typer.Option("-t", min=1, metavar="N", help="What iteration N trained; else where the run stands."),
    ] = None,
) -> None:
    """Write the trained policy to a directory: --merged as a model of its own, --adapter as a LoRA adapter."""
    from iteralign.cli import target, terminal
    from iteralign.cli.words import size
    from iteralign.errors import UserError
    from iteralign.record.disk import disk
    from iteralign.record.replay import config_of
    from iteralign.run import build

    root = target.run_directory(run)
    if (merged is None) == (adapter is None):
        raise UserError(
            "export: name one of --merged DIR (a whole model) and --adapter DIR (the adapter alone)"
        )
    config, checkpoint = config_of(root), _checkpoint(root, t)
    out = Path(merged or adapter or "").resolve()
    target.free(out)
    with disk(out):
        if merged:
            build.merged(config, root, checkpoint, out, dtype)
        else:
            build.adapter(root, checkpoint, out)
    written = sum(file.stat().st_size for file in out.iterdir())
    terminal.note(
        f"wrote {merged or adapter} ({size(written)}): checkpoint {checkpoint.id} on {checkpoint.base}"
    )


def _checkpoint(root: Path, t: int | None) -> "Checkpoint":
    """What is to be written. Raises UserError if the run trained nothing, or not then."""
    from iteralign.errors import UserError
    from iteralign.record.replay import replay

    turns = replay(root).iterations
    if t is not None and t > len(turns):
        raise UserError(f"-t {t}: {root} has {len(turns)} finished iterations")
    if t is None:
        found = turns[-1].policy if turns else None
    else:
        found = turns[t - 1].trained
    if found is None or found.kind == "base":
        raise UserError(f"export: {root} holds no trained policy yet; the base model is all there is")
    return found
