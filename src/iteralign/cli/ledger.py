"""`iteralign constitution ledger`: what each principle of a run came from, and what it did."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iteralign.cli.run import QuietOption
from iteralign.cli.show import RunArgument

if TYPE_CHECKING:
    from iteralign.record.journal import Event
    from iteralign.report.ledger.measuring import MeasuringCost

Entry = Mapping[str, Any]


def ledger(
    run: RunArgument,
    in_context: Annotated[
        bool, typer.Option("--in-context", help="Measure each principle in context; asks models.")
    ] = False,
    leave_one_out: Annotated[
        bool, typer.Option("--leave-one-out", help="Train without each principle's rows, and measure.")
    ] = False,
    n: Annotated[
        int, typer.Option("--n", min=1, max=1000, help="Failures of a principle, for --in-context.")
    ] = 12,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show the failed prompts unmasked: harmful text.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON (docs/ledger.md) and nothing else on stdout.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Say where each principle came from, and what it did.

    Nothing is asked unless one of the two measurements is wanted. They are kept in RUN/ledger; interrupted, the same
    command goes on.
    """
    from iteralign.cli import entries, target, terminal
    from iteralign.report.ledger import document

    root = target.run_directory(run)
    if in_context or leave_one_out:
        tell: Callable[[str], None] = (lambda _: None) if quiet else terminal.note
        _measure(root, n if in_context else 0, leave_one_out, tell)
    found = document.ledger(root)
    if not reveal:
        _mask(found["entries"])
    found["masked"] = not reveal
    if json:
        terminal.write(terminal.json_text(found))
        return
    entries.page(terminal.stdout(), found)


def _measure(root: Path, n: int, leave_one_out: bool, tell: Callable[[str], None]) -> None:
    """What is wanted, its size said first. `n` is 0 where nothing is wanted in context."""
    from iteralign.budget.limits import BudgetSpent
    from iteralign.cli.terminal import shell_word
    from iteralign.cli.words import many
    from iteralign.errors import WorldError
    from iteralign.report.ledger.measuring import InContext, LeaveOneOut, opened

    try:
        with opened(root, partial(_event, tell)) as bench:
            if n:
                wanted = InContext(bench, n)
                tell(f"in context, {many(len(wanted.tried), 'principle')}: {_size(wanted.cost)}")
                wanted.measure()
            if leave_one_out:
                trainings = LeaveOneOut(bench)
                tell(
                    f"leave-one-out, {many(len(trainings.left_out) - 1, 'principle')}: {_size(trainings.cost)}"
                )
                trainings.measure()
    except BudgetSpent as error:
        raise WorldError(
            f"budget.{error.key} of the run: {error.used:.6g} of {error.most:.6g} are spent, and what comes next "
            f"may take {error.more:.3g}; raise it with: iteralign run {shell_word(str(root))} --set "
            f"budget.{error.key}=…; what is done is kept, and the same command goes on"
        ) from error
    except WorldError as error:
        raise WorldError(f"{error} (what is done is kept; the same command goes on)") from error


def _size(cost: "MeasuringCost") -> str:
    from iteralign.cli.words import many

    trainings = f"{many(cost.trainings, 'training')}, " if cost.trainings else ""
    return f"{trainings}{many(cost.judged, 'answer')} to be judged by {cost.judge}, less what is on record"


def _event(tell: Callable[[str], None], event: "Event") -> None:
    """A line for each step that is begun."""
    if event.kind != "started":
        return
    rows = f"without the rows of principle {event.t}" if event.t else "on all accepted rows"
    steps = {
        "lifts": "revising under each principle, and without",
        "checkpoint": f"fine-tuning {rows}",
        "test": f"measuring, trained {rows}",
    }
    tell(steps[event.step])


def _mask(entries: Sequence[Entry]) -> None:
    from iteralign.cli.data import masked

    for entry in entries:
        for failure in (*entry["failures"], *entry["more_failures"]):
            failure["text"] = masked(failure["text"])
