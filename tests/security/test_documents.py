"""Documents: whatever lies where a file should lie, it is read within bounds or refused in one line."""

import contextlib
import gzip
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iteralign.security import documents
from iteralign.security.documents import DEPTH, LARGEST, SMALL, Unreadable


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(8 * LARGEST)


def listen(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's name is short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


NO_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "folder": (Path.mkdir, "a folder, not a file"),
    "pipe": (os.mkfifo, "a pipe, not a file"),
    "device": (lambda p: p.symlink_to("/dev/zero"), "a device, not a file"),
    "socket": (listen, "a socket, not a file"),
    "sparse file of gigabytes": (sparse, "larger than"),
    "loop": (lambda p: p.symlink_to(p.name), "too many levels"),
    "nothing": (lambda p: None, "no such file"),
}


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_is_never_opened(tmp_path: Path, kind: str) -> None:
    make, says = NO_FILES[kind]
    make(tmp_path / "f")
    for read in (documents.text, documents.read_json, documents.read_toml):
        with pytest.raises(Unreadable, match=says):
            read(tmp_path / "f")


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 5000], ids=["NUL", "half a character", "long"])
def test_a_name_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(Unreadable):
        documents.text(tmp_path / name)


def test_an_endless_file_is_read_up_to_the_bound(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 100)
    assert documents.content(tmp_path / "f", 100) == b"x" * 100
    with pytest.raises(Unreadable, match="larger than 99 bytes"):
        documents.content(tmp_path / "f", 99)


JSON = {
    "nested far": "[" * 200_000,
    "nested to the parser's bound": "[" * 900 + "]" * 900,
    "objects": '{"a":' * 500 + "1" + "}" * 500,
    "number": "9" * 1_000_000,
    "half": '{"a": ',
    "empty": "",
}


@pytest.mark.parametrize("kind", JSON)
def test_hostile_json(kind: str) -> None:
    with pytest.raises(Unreadable):
        documents.parsed_json(JSON[kind])


TOML = {
    "nested": f"x = {'[' * 3000}{']' * 3000}",
    "tables": f"x = {'{a=' * 150}1{'}' * 150}",
    "number": f"x = {'9' * 100_000}",
    "dotted key": f"{'a.' * 30_000}a = 1",
    "half": "x = [",
}


@pytest.mark.parametrize("kind", TOML)
def test_hostile_toml(kind: str) -> None:
    with pytest.raises(Unreadable):
        documents.parsed_toml(TOML[kind])


def test_what_is_as_deep_as_allowed_is_read() -> None:
    text = "[" * DEPTH + "]" * DEPTH
    assert documents.parsed_json(text) == json.loads(text)
    with pytest.raises(Unreadable, match="nested too deep"):
        documents.parsed_json(f"[{text}]")


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"\xef\xbb\xbfseed = 1\n")
    assert documents.read_toml(tmp_path / "f") == {"seed": 1}


def test_gzip_that_unpacks_to_very_much_is_refused() -> None:
    packed = gzip.compress(b"x" * (SMALL + 1))
    with pytest.raises(Unreadable, match="unpacks to more than"):
        documents.unpacked(packed)
    assert documents.unpacked(gzip.compress(b"x" * 1000)) == b"x" * 1000


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_unreadable(data: bytes) -> None:
    for read in (
        documents.parsed_json,
        documents.unpacked,
        lambda d: documents.parsed_toml(documents.decoded(d)),
    ):
        with contextlib.suppress(Unreadable):
            read(data)
