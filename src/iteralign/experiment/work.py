"""Work: run and evaluate what is missing of a grid. Whatever stops it, the same call goes on where it was.

A cell is an ordinary run directory; one that ended under the same config is left alone. One cell that fails does
not lose the others, and one in which another process is at work is left to that process.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from iteralign.config.schema import Config
from iteralign.errors import IterAlignError
from iteralign.experiment import evaluating, ready
from iteralign.experiment.grid import Cell, Grid, vanilla
from iteralign.record.disk import disk
from iteralign.record.lock import InUse, Lock
from iteralign.record.replay import OUTCOME, outcome_of
from iteralign.run.runner import execute

Tell = Callable[[str, str], None]
"""Hears (place, what became of it)."""


@dataclass(frozen=True, slots=True)
class Job:
    """One thing to do. `place` is that of its directory under the experiment's."""

    place: str
    what: str
    do: Callable[[], None]


@dataclass(frozen=True, slots=True)
class FailedCell:
    place: str
    error: IterAlignError


def perform(grid: Grid, cells: Sequence[Cell], out: Path, tell: Tell) -> tuple[FailedCell, ...]:
    """Do all that is missing of these cells; what failed, with its error. Raises UserError before anything runs."""
    ready.check(cells, out)
    evaluating.check(grid.sheet.benchmarks, grid.sheet.benchmark_data)
    with disk(out):
        out.mkdir(parents=True, exist_ok=True)
    failures: list[FailedCell] = []
    for job in _jobs(grid, cells, out, tell):
        tell(job.place, job.what)
        try:
            job.do()
        except InUse:
            tell(job.place, "in use by another process; left to it")
        except IterAlignError as error:
            failures.append(FailedCell(job.place, error))
            tell(job.place, f"failed: {error}")
    return tuple(failures)


def _jobs(grid: Grid, cells: Sequence[Cell], out: Path, tell: Tell) -> Iterator[Job]:
    """What is missing, looked up when its turn comes: an evaluation follows from the run before it."""
    bases = {cell.block for cell in cells}
    for number, cell in enumerate(cells, 1):
        root, took = out / cell.place, ""
        if cell.block in bases:
            bases.remove(cell.block)
            yield from _evaluations(grid, vanilla(cell.block), grid.base(cell.block), out)
        if not ready.finished(cell.config, root):
            config, start = ready.named(cell.config, root), monotonic()
            yield Job(cell.place, f"run {number} of {len(cells)} …", _running(config, root))
            took = f" in {monotonic() - start:.0f} s"
        if ready.finished(cell.config, root):
            tell(cell.place, f"finished{took}: {_reason(root)}")
            yield from _evaluations(grid, cell.place, cell.config, out)


def _running(config: Config, root: Path) -> Callable[[], None]:
    """An ending on record is one of another stop rule: until the run has ended again, it has none."""

    def do() -> None:
        with disk(root):
            (root / OUTCOME).unlink(missing_ok=True)
        execute(config, root)

    return do


def _reason(root: Path) -> str:
    ended = outcome_of(root)
    return ended.stop_reason if ended else ""


def _evaluations(grid: Grid, place: str, config: Config, out: Path) -> Iterator[Job]:
    root, data = out / place, grid.sheet.benchmark_data
    names = evaluating.missing(config, root, grid.sheet.benchmarks, data)
    if names:
        yield Job(place, f"evaluating {', '.join(names)} …", lambda: _evaluated(config, root, names, grid))


def _evaluated(config: Config, root: Path, names: Sequence[str], grid: Grid) -> None:
    with disk(root):
        root.mkdir(parents=True, exist_ok=True)
    lock = Lock(root)
    try:
        evaluating.evaluate(config, root, names, grid.sheet.benchmark_data)
    finally:
        lock.release()
