"""Files: written whole or not at all, and what the disk may answer.

The one place that knows what a full disk or a missing permission looks like.
"""

import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from iteralign.errors import UserError, WorldError
from iteralign.security import documents

TEMPORARY = ".tmp-"
"""How the name of a file or folder begins while it is being written; swept at the next start."""

APART = frozenset({".lock", "failed_attempts.jsonl", "provenance.json", "timings.jsonl", "vllm.log"})
"""What says who ran and when, not what came out: may differ between two equal runs."""

FSYNC_EVERY_S = 1.0
"""A line goes to the kernel at once, and a kill -9 cannot take it back; only a loss of power can cost
what was appended since the last fsync. (Assumed to be cheap enough at this rate, not tuned.)"""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_MISPLACED = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG}
_BROKEN = {errno.EIO, errno.ENOLCK, errno.ESTALE, errno.EMFILE, errno.ENFILE}


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Say in one line what the disk refused. Raises WorldError (full, failing), UserError (closed)."""
    try:
        yield
    except OSError as error:
        known = explained(error, path)
        if known is None:
            raise
        raise known from error


@contextmanager
def room(path: Path) -> Iterator[None]:
    """As `disk`, but only for a full or failing disk: for code that opens files of its own."""
    try:
        yield
    except OSError as error:
        known = explained(error, path)
        if not isinstance(known, WorldError):
            raise
        raise known from error


class Lines:
    """A file that grows by whole lines. What a crash tore off at its end is cut before the next line."""

    def __init__(self, path: Path) -> None:
        """Raises as `disk`. `found` holds the whole lines that were there, without their ends."""
        self.path = path
        try:
            with disk(path):
                data = documents.content(path) if path.exists() else b""
        except documents.Unreadable as error:
            raise UserError(f"{path}: cannot be read ({error}); move it away") from None
        self._size = data.rfind(b"\n") + 1
        self.found = data[: self._size].splitlines()
        self._handle: int | None = None
        self._synced_at = 0.0

    def append(self, line: str) -> None:
        """Hand the line to the kernel at once, whole or not at all. Raises as `disk`."""
        data = line.encode()
        with disk(self.path):
            handle = self._open()
            try:
                _write(handle, data)
            except OSError:
                os.ftruncate(handle, self._size)
                raise
            self._size += len(data)
            if time.monotonic() - self._synced_at >= FSYNC_EVERY_S:
                os.fsync(handle)
                self._synced_at = time.monotonic()

    def pause(self) -> None:
        """Safe on disk and closed; the next `append` opens the file again. Raises as `disk`."""
        if self._handle is None:
            return
        handle, self._handle = self._handle, None
        with disk(self.path):
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def _open(self) -> int:
        if self._handle is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.ftruncate(self._handle, self._size)
        return self._handle


def write_whole(path: Path, text: str) -> None:
    """Write `text` so that a crash at any moment leaves the old file or the new one. Raises as `disk`."""
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    with disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(root: Path) -> None:
    """Remove what a killed process left half written."""
    with disk(root):
        for path in list(root.rglob(f"{TEMPORARY}*")):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def comparable(root: Path) -> dict[str, str]:
    """Relative path to sha256 of every file of a run that says what came out, not who ran and when.

    Two runs of the same config on the same CPU have equal ones, however often they were interrupted.
    """
    return {
        path.relative_to(root).as_posix(): documents.sha256(path)
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.relative_to(root).as_posix() not in APART
    }


def _write(handle: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def explained(error: OSError, path: Path | str = "") -> UserError | WorldError | None:
    """What the disk refused, in one line; None for what is no fault of the disk or of a name."""
    where, why = error.filename or path, (error.strerror or str(error)).lower()
    if error.errno in _FULL:
        return WorldError(f"{where}: {why}; free space and rerun the same command, nothing recorded is lost")
    if error.errno in _CLOSED:
        return UserError(f"{where}: {why}; make it writable for this user, or choose another run directory")
    if error.errno in _MISPLACED:
        return UserError(f"{where}: {why}; choose another place")
    if error.errno in _BROKEN:
        return WorldError(f"{where}: {why}; rerun the same command, nothing recorded is lost")
    return None
