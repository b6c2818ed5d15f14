"""One event loop, in one daemon thread, for every remote model of the process.

Clients and rate limiters bind to the loop that first uses them, so all calls share this one; the
caller may have a running loop of its own (a notebook) and still call synchronously.
"""

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loops: dict[int, asyncio.AbstractEventLoop] = {}
"""By process id: a forked child gets a loop of its own, as threads do not survive a fork."""


def submit(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Start `work` on the shared loop, in an empty context: nothing of the caller's leaks into it."""
    return contextvars.Context().run(asyncio.run_coroutine_threadsafe, work, _loop())


def call(function: Callable[[], T]) -> T:
    """Run a plain function on the loop's thread and wait for its result."""

    async def work() -> T:
        return function()

    return submit(work()).result()


def _loop() -> asyncio.AbstractEventLoop:
    with _lock:
        loop = _loops.get(os.getpid())
        if loop is None:
            loop = _loops[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="iteralign-remote", daemon=True).start()
        return loop
