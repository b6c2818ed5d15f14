"""Journal: a step runs once and is recorded; running the run again replays it. That is all of resuming.

    runs/NAME/
      iterations/003/20_verdicts.json                 the value of a finished step (artifact.py)
      iterations/003/calls/20_verdicts.oracle.jsonl   every model call behind it (calls.py)
      timings.jsonl                                   when, not what (`Timing`)
      provenance.json, .lock                          who, once; and who now (provenance.py, lock.py)

The artifact is the last thing that a step writes: a crash before it leaves recorded calls, which the
next attempt does not ask again, and no half artifact.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

from iteralign.errors import IterAlignError, UserError
from iteralign.protocols import Step
from iteralign.record import artifact
from iteralign.record.artifact import Work
from iteralign.record.calls import Call, Calls, Recorded, Spent, is_oracle, role_of, spent
from iteralign.record.codec import decode, line
from iteralign.record.disk import Lines, room
from iteralign.security import documents

P = ParamSpec("P")
T = TypeVar("T")
TIMINGS = "timings.jsonl"
EventKind = Literal["started", "advanced", "finished", "replayed"]


@dataclass(frozen=True, slots=True)
class Event:
    """What a watcher of a run is told. `done` and `total` count model calls, or what a trainer counts;
    `total` is what is known so far (a stage may ask more later), None if nothing is. `oracle` is what
    the step has asked of its oracle so far, by role."""

    kind: EventKind
    t: int
    step: str
    done: int = 0
    total: int | None = None
    detail: str = ""
    oracle: Mapping[str, Spent] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Timing:
    """One step in one process: a line of `timings.jsonl`, which may differ between runs that are equal.

    seconds: wall clock of this attempt.
    replayed: nothing was done, the value was on record. finished: false if the attempt was interrupted.
    models: calls and tokens of this attempt by model id (`calls.usage` has the totals of the run).
    """

    at: str
    t: int
    step: str
    seconds: float
    replayed: bool
    models: Mapping[str, Spent] = field(default_factory=dict)
    finished: bool = True


class StepReached(Exception):
    """Not a fault: the step named by `stop_after` is done, and the caller wanted no more."""

    def __init__(self, t: int, step: str, value: Any) -> None:
        super().__init__(f"iteration {t}, step {step}")
        self.t, self.step, self.value = t, step, value


def unwatched(_: Event) -> None:
    """The watcher of a run that nobody watches."""


class RunJournal:
    """The journal of the run directory `root`. Whoever opens one holds the directory's Lock.

    on_event: hears of every step as it goes; may be called from a worker thread of a model.
    stop_after: (t, step) after which StepReached is raised.
    place: where the artifact of a step lies below the root, from root, t and step.
    Steps raise UserError (changed inputs, damaged files, no permission) and WorldError (disk full).
    """

    def __init__(
        self,
        root: Path,
        on_event: Callable[[Event], None] = unwatched,
        stop_after: tuple[int, str] | None = None,
        place: Callable[[Path, int, str], Path] = artifact.place,
    ) -> None:
        self.root = root
        self._place = place
        self._on_event = on_event
        self._stop_after = stop_after
        self._current: tuple[int, str] | None = None
        self._timings = Lines(root / TIMINGS)

    def at(self, t: int) -> Step:
        """The steps of iteration `t`; 0 is what happens before the loop."""

        def do(name: str, stage: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
            value: T = self._do(t, name, artifact.work(stage, args, kwargs))
            if self._stop_after == (t, name):
                raise StepReached(t, name, value)
            return value

        return do

    def progress(self, done: int, total: int | None = None, detail: str = "") -> None:
        """How far the current step is: what a trainer's callback is bound to."""
        self._tell("advanced", done, total, detail)

    def _do(self, t: int, name: str, work: Work) -> Any:
        path = self._place(self.root, t, name)
        found = artifact.load(path)
        self._current = t, name
        started = time.monotonic()
        value: Any
        calls: Sequence[Call] = ()
        if found is not None:
            value = artifact.replayed(path, found, work)
        else:
            try:
                self._tell("started")
                value, calls = self._perform(path, work)
            except BaseException:  # its time was spent, and counts against a budget of hours
                with suppress(IterAlignError):
                    self._note(time.monotonic() - started, finished=False)
                raise
        self._note(time.monotonic() - started, found is not None, calls)
        self._tell("replayed" if found is not None else "finished", len(calls), len(calls))
        self._current = None
        return value

    def _perform(self, path: Path, work: Work) -> tuple[Any, Sequence[Call]]:
        """Run the stage, its calls recorded; the value as a replay would give it, and the calls made."""
        kept = {role: Calls(artifact.calls_place(path, role)) for role in work.models}

        def count(role: str) -> None:
            answered, asked = (sum(getattr(c, k) for c in kept.values()) for k in ("answered", "asked"))
            used = {role_of(path.stem.partition("_")[2], k): c.used for k, c in kept.items() if is_oracle(k)}
            self._tell("advanced", answered, asked, role, used)

        with room(self.root):
            value = work.run(
                {role: Recorded(m, kept[role], partial(count, role)) for role, m in work.models.items()}
            )
        for calls in kept.values():
            calls.seal()
        return artifact.save(path, work, value), [call for calls in kept.values() for call in calls.fresh]

    def _note(
        self, seconds: float, replayed: bool = False, calls: Sequence[Call] = (), finished: bool = True
    ) -> None:
        assert self._current is not None
        t, step = self._current
        at = datetime.now(UTC).isoformat(timespec="seconds")
        timing = Timing(at, t, step, round(seconds, 3), replayed, spent(calls), finished)
        self._timings.append(line(timing))
        self._timings.pause()

    def _tell(
        self,
        kind: EventKind,
        done: int = 0,
        total: int | None = None,
        detail: str = "",
        oracle: Mapping[str, Spent] | None = None,
    ) -> None:
        if self._current is not None:
            self._on_event(Event(kind, *self._current, done, total, detail, oracle or {}))


def timings(root: Path) -> list[Timing]:
    """All lines in order. Raises UserError if one is damaged."""
    lines = Lines(root / TIMINGS)
    try:
        return [decode(Timing, documents.parsed_json(text)) for text in lines.found]
    except ValueError as error:
        raise UserError(f"{lines.path} is damaged ({error}); it may be deleted") from None


def seconds(root: Path) -> dict[tuple[int, str], float]:
    """(t, step) to the seconds of the attempt that finished it."""
    return {(x.t, x.step): x.seconds for x in timings(root) if x.finished and not x.replayed}
