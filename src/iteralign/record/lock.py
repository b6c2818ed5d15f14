"""Lock: one process at a time in a run directory.

flock belongs to the open file: the kernel releases it however the process ends, so there is no stale
lock to clear. POSIX only; on a network file system it holds as far as that system's flock does.
"""

import fcntl
import os
from pathlib import Path

from iteralign.errors import UserError
from iteralign.record.disk import disk

NAME = ".lock"


class InUse(UserError):
    """Another process is at work in the directory."""


class Lock:
    """Held from construction to `release`, or to the end of the process."""

    def __init__(self, root: Path) -> None:
        """Raises InUse if another process holds it, with that process's number."""
        path = root / NAME
        with disk(path):
            self._handle: int | None = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            with disk(path):
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(self._handle, 0)
                os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            holder = os.pread(self._handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
            self.release()
            raise InUse(
                f"run directory {root} is in use by process {holder}; wait for it, or choose another run name"
            ) from None
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let go; twice does no harm."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
