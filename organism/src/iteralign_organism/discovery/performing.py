"""Making the benchmark: each sibling planted, then each arm run on it. Done again, it goes on where it stopped, and a
failure of one costs the others nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from iteralign.config.schema import Config
from iteralign.errors import IterAlignError
from iteralign.record.journal import Event
from iteralign.record.lock import InUse
from iteralign.run.runner import execute
from iteralign_organism.discovery import family
from iteralign_organism.discovery.family import FAMILY, OnProgress, Planting
from iteralign_organism.discovery.layout import Bench

OnEvent = Callable[[Event], None]
Run = Callable[[Config, Path, OnEvent], None]


class Watch(Protocol):
    """Who is told how it goes; what a context gives hears the events of that piece of work."""

    def planting(self, sibling: str) -> AbstractContextManager[OnProgress]: ...

    def running(self, arm: str, sibling: str) -> AbstractContextManager[OnEvent]: ...

    def failed(self, failure: "FailedJob") -> None: ...

    def left(self, failure: "FailedJob") -> None:
        """Another process is at work there, and it is left to it."""
        ...


@dataclass(frozen=True, slots=True)
class FailedJob:
    """What could not be done, and the line that says why."""

    what: str
    why: str


def perform(
    bench: Bench, watch: Watch, planting: Planting | None = None, run: Run = execute
) -> tuple[FailedJob, ...]:
    """Plant and run what is not done yet; what failed. `run` does one run, and replays what is recorded of it.

    Raises UserError where a config is wrong, before anything is done.
    """
    failures: list[FailedJob] = []
    configs = {job: bench.config(*job) for job in bench.jobs}

    @contextmanager
    def tried(what: str) -> Iterator[None]:
        try:
            yield
        except InUse as error:
            watch.left(FailedJob(what, str(error)))
        except IterAlignError as error:
            failures.append(FailedJob(what, str(error)))
            watch.failed(failures[-1])

    for sibling in bench.siblings:
        with tried(f"planting {sibling}"):
            _plant(bench, sibling, watch, planting or Planting())
            for arm in bench.arms:
                with tried(f"{arm} {sibling}"), watch.running(arm, sibling) as on_event:
                    run(configs[arm, sibling], bench.root(arm, sibling), on_event)
    return tuple(failures)


def _plant(bench: Bench, sibling: str, watch: Watch, planting: Planting) -> None:
    folder, gaps = bench.organism(sibling), FAMILY[sibling]
    if family.state(folder, gaps, planting) != "planted":
        with watch.planting(sibling) as on_progress:
            family.planted(folder, gaps, on_progress, planting)
