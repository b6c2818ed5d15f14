"""`iteralign stage`: one stage of one iteration, run if it was not yet, and what it left."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iteralign.cli.run import QuietOption
from iteralign.cli.show import RunArgument

if TYPE_CHECKING:
    from iteralign.types import Iteration

BEFORE_ONLY, AROUND_ONLY = "benign", "test"


def command(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The stage: responses, verdicts, constitution …")
    ],
    run: RunArgument,
    t: Annotated[int, typer.Option("-t", min=0, metavar="N", help="The iteration; 0 is before the loop.")],
    quiet: QuietOption = False,
) -> None:
    """Run one stage and print what it left.

    The run's loop goes on up to that stage of iteration N, unless it is on record; its artifact is
    printed as JSON.
    """
    from iteralign.cli import target, terminal
    from iteralign.record import artifact

    root = target.run_directory(run)
    _check(name, t)
    place = artifact.place(root, t, name)
    if artifact.load(place) is None:
        with target.resumable(root):
            _advance(root, t, name, quiet)
    found = artifact.load(place)
    assert found is not None, f"{place} was to be there"
    terminal.write(terminal.json_text({"stage": found.stage, "inputs": found.inputs, "value": found.value}))


def _check(name: str, t: int) -> None:
    from iteralign.errors import UserError, unknown
    from iteralign.record.artifact import NUMBERS

    if name not in NUMBERS:
        raise unknown("stage", name, NUMBERS)
    before = (BEFORE_ONLY, AROUND_ONLY, "metrics")
    if t == 0 and name not in before:
        raise UserError(
            f"stage {name}: -t 0 is before the loop, which has {', '.join(before)}; choose -t 1 or later"
        )
    if t and name == BEFORE_ONLY:
        raise UserError(f"stage {name}: belongs before the loop: use -t 0")


def _advance(root: Path, t: int, name: str, quiet: bool) -> None:
    """Run until the step is recorded. Raises UserError if the run never comes to it."""
    from iteralign.cli import terminal
    from iteralign.cli.progress import watching
    from iteralign.errors import UserError
    from iteralign.record.journal import StepReached
    from iteralign.record.replay import config_of
    from iteralign.run import runner

    if t and name == AROUND_ONLY:
        raise UserError(f"stage {name}: is done before the loop (-t 0) and after its end, by `iteralign run`")
    turn: Iteration | None = None
    with watching(terminal.stderr(), root, quiet) as watcher:
        turns = runner.run(config_of(root), root, watcher.event, stop_after=(t, name))
        try:
            for turn in turns:
                watcher.iteration(turn)
                if turn.t >= t > 0:
                    break
        except StepReached:
            return
    last = turn.t if turn else 0
    why = "nothing was accepted to train on" if last == t else f"the run ends with iteration {last}"
    raise UserError(f"stage {name}: iteration {t} has none: {why}")
