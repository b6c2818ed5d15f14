"""Signals: SIGTERM and a lost terminal end a command as Ctrl-C does, with one line and everything put away.

A second signal ends the process at once: a run directory is whole at every moment, its lock goes with the process, and
a server that was started goes with its parent.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

HEEDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """The process was asked to end, by signal `number`. typer would turn a KeyboardInterrupt into an Abort."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def status_of(error: BaseException) -> int:
    """The exit status of a process that a signal ended, as a shell counts."""
    return 128 + getattr(error, "number", signal.SIGINT)


@contextmanager
def heeded() -> Iterator[None]:
    """Raise Stopped in the main thread at the first signal, end at once at the second.

    What the caller's shell has ignored, as nohup does with SIGHUP, stays ignored.
    """
    seen: list[int] = []

    def stop(number: int, _: Any) -> None:
        if seen:
            os.write(2, b"interrupted again: ended at once; nothing recorded is lost\n")
            os._exit(128 + number)
        seen.append(number)
        raise Stopped(number)

    mine = [number for number in HEEDED if signal.getsignal(number) != signal.SIG_IGN]
    for number in mine:
        signal.signal(number, stop)
    try:
        yield
    finally:
        # The command is over and the interpreter about to end: Python's own handlers would print a traceback now.
        for number in mine:
            signal.signal(number, signal.SIG_DFL)
