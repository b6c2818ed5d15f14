"""Documents: files that somebody else wrote or damaged, read within bounds.

A pipe, a device or a folder is refused before it is opened, and a file by its size before it is read. What is wrong
is an `Unreadable`: its text says why, on one line, and the caller says what the file was for. Nothing here trusts a
number that a file announces.
"""

import gzip
import hashlib
import io
import json
import stat
import tomllib
import zlib
from pathlib import Path
from typing import Any

LARGEST = 1 << 30
"""Bytes of any file that is read whole (chosen: far above every published red-team set, and below most memories)."""
SETTINGS = 1 << 18
"""Bytes of a file of settings, as a config is (chosen)."""
DEPTH = 100
"""Levels of nesting (chosen). Deeper values end in a RecursionError in whoever walks them."""
DOTS = 200
"""Dots in one line of TOML: tomllib takes quadratic time over the parts of a dotted key."""
SMALL, RATIO = 1 << 26, 50
"""A packed file may unpack to SMALL bytes, a large one to RATIO times its size; texts pack by a factor of 3 to 10."""

_KINDS = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a pipe",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
    stat.S_ISSOCK: "a socket",
}


class Unreadable(ValueError):
    """A file cannot be read as what it should be; the text says why."""


def content(path: Path, most: int = LARGEST) -> bytes:
    """The bytes of an ordinary file of at most `most`. Raises Unreadable, and OSError as the disk says it."""
    if _size(path) <= most:
        with path.open("rb") as file:
            data = file.read(most + 1)
        if len(data) <= most:
            return data
    raise Unreadable(f"larger than {most:,} bytes")


def beginning(path: Path, count: int) -> bytes:
    """The first bytes of an ordinary file that `content` would read. Raises Unreadable, and OSError."""
    if _size(path) > LARGEST:
        raise Unreadable(f"larger than {LARGEST:,} bytes")
    with path.open("rb") as file:
        return file.read(count)


def _size(path: Path) -> int:
    """The size of an ordinary file. Raises Unreadable for what is none, and OSError."""
    try:
        found = path.stat()
    except ValueError as error:  # NUL, or half a character
        raise Unreadable(f"no file can have this name: {error}") from None
    for is_kind, name in _KINDS.items():
        if is_kind(found.st_mode):
            raise Unreadable(f"{name}, not a file")
    return found.st_size


def sha256(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal, read in parts. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text(path: Path, most: int = LARGEST) -> str:
    """The text of a UTF-8 file, without a byte order mark. Raises Unreadable, whatever the disk says."""
    try:
        return decoded(content(path, most))
    except OSError as error:
        raise Unreadable((error.strerror or str(error)).lower()) from None


def read_json(path: Path, most: int = LARGEST) -> Any:
    """The value of a JSON file. Raises Unreadable, whatever the disk says."""
    return parsed_json(text(path, most))


def read_toml(path: Path) -> dict[str, Any]:
    """The table of a TOML file. Raises Unreadable, whatever the disk says."""
    return parsed_toml(text(path, SETTINGS))


def decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"not UTF-8 text (byte {error.start})") from None


def parsed_json(written: bytes | str) -> Any:
    """The value of a JSON text. Raises Unreadable: also where it is nested too deep to be walked."""
    try:
        value = json.loads(decoded(written) if isinstance(written, bytes) else written)
    except Unreadable:
        raise
    except ValueError as error:
        raise Unreadable(f"not JSON: {error}") from None
    except RecursionError:
        raise Unreadable(f"nested too deep (more than {DEPTH} levels)") from None
    return shallow(value)


def parsed_toml(written: str) -> dict[str, Any]:
    """The table of a TOML text. Raises Unreadable: also where it is nested too deep to be walked."""
    if any(line.count(".") > DOTS for line in written.split("\n")):
        raise Unreadable(f"not valid TOML here: a line has more than {DOTS} dots")
    try:
        return dict(shallow(tomllib.loads(written)))
    except Unreadable:
        raise
    except ValueError as error:
        raise Unreadable(f"not valid TOML: {error}") from None
    except RecursionError:
        raise Unreadable(f"nested too deep (more than {DEPTH} levels)") from None


def shallow(value: Any) -> Any:
    """`value` itself. Raises Unreadable if its lists and tables are nested deeper than DEPTH."""
    level = [value] if isinstance(value, dict | list | tuple) else []
    for _ in range(DEPTH + 1):
        if not level:
            return value
        inner = (v for each in level for v in (each.values() if isinstance(each, dict) else each))
        # by identity: what is in a thousand places, as a pickle may have it, is looked at once
        level = list({id(v): v for v in inner if isinstance(v, dict | list | tuple)}.values())
    raise Unreadable(f"nested too deep (more than {DEPTH} levels)")


def unpacked(data: bytes) -> bytes:
    """What gzip packed. Raises Unreadable, also where little data would unpack to very much."""
    most = allowance(len(data))
    try:
        with gzip.open(io.BytesIO(data)) as file:
            found = file.read(most + 1)
    except gzip.BadGzipFile:
        raise Unreadable("not gzip as its name says: rename it without .gz") from None
    except (OSError, EOFError, zlib.error) as error:
        raise Unreadable(f"damaged gzip: {error}") from None
    if len(found) > most:
        raise Unreadable(f"unpacks to more than {most:,} bytes")
    return found


def allowance(size: int) -> int:
    """How many bytes a packed file of `size` bytes may hold."""
    return min(LARGEST, max(SMALL, RATIO * size))
