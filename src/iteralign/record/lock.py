"""Lock: one process at a time in a run directory.

filelock takes an flock where the system has one. The kernel releases it however the process ends, so no stale lock
is left. On a network file system it holds as far as that system's flock does.
"""

import os
from pathlib import Path

from filelock import FileLock, Timeout

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
        # No fallback to a marker file: one would outlive a killed process.
        self._lock = FileLock(path, mode=0o644, blocking=False, thread_local=False, fallback_to_soft=False)
        try:
            with disk(path):
                path.touch(
                    mode=0o644
                )  # filelock would create folders that are missing, and name other errors
                self._lock.acquire()
                path.write_text(f"{os.getpid()}\n", encoding="ascii")
        except Timeout:
            with disk(path):
                holder = path.read_text(encoding="ascii", errors="replace")[:32].strip() or "unknown"
            raise InUse(
                f"run directory {root} is in use by process {holder}; wait for it, or choose another run name"
            ) from None
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let go; twice does no harm."""
        self._lock.release()
