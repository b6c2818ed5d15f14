"""Timings: how long each step took and what it asked of the models. "When" is not "what".

`timings.jsonl` only grows, one line a step and process; it may differ between runs that are equal.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from iteralign.errors import UserError
from iteralign.record.calls import Spent
from iteralign.record.codec import decode
from iteralign.record.disk import Lines
from iteralign.security import documents

NAME = "timings.jsonl"


@dataclass(frozen=True, slots=True)
class Timing:
    """One step in one process.

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


def timings(root: Path) -> list[Timing]:
    """All lines in order. Raises UserError if one is damaged."""
    lines = Lines(root / NAME)
    try:
        return [decode(Timing, documents.parsed_json(text)) for text in lines.found]
    except ValueError as error:
        raise UserError(f"{lines.path} is damaged ({error}); it may be deleted") from None


def seconds(root: Path) -> dict[tuple[int, str], float]:
    """(t, step) to the seconds of the attempt that finished it."""
    return {(x.t, x.step): x.seconds for x in timings(root) if x.finished and not x.replayed}
