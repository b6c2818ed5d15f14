"""Halving: where memory runs out, rows are run in smaller parts, and that is said."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from iteralign.errors import WorldError
from iteralign.lm.weights import ran_out

log = logging.getLogger(__name__)
R = TypeVar("R")
T = TypeVar("T")


@dataclass
class Halving:
    """At most `most` rows at once, fewer once that has proved too many. For people: `what` is a row, `way_out` what
    helps where a single one is too many."""

    most: int
    what: str
    way_out: str

    def run(self, rows: Sequence[R], once: Callable[[Sequence[R]], T]) -> Iterator[tuple[Sequence[R], T]]:
        """Each part with what `once` makes of it, in order. Raises WorldError where one row is too many."""
        start = 0
        while start < len(rows):
            part = rows[start : start + self.most]
            made = _attempt(once, part)
            if made is None:
                self._halve(len(part))
                continue
            yield part, made
            start += len(part)

    def _halve(self, size: int) -> None:
        if size == 1:
            raise WorldError(f"out of memory with a single {self.what}; {self.way_out}")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.most = size // 2
        said = f"out of memory with %d {self.what}s at once; going on with %d"
        log.warning(said, size, self.most)


def _attempt(once: Callable[[Sequence[R]], T], part: Sequence[R]) -> T | None:
    """None if memory ran out: the caller goes on once the frames that hold the tensors are gone."""
    try:
        return once(part)
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        return None
