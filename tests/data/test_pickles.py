"""Pickles: plain data comes out as it went in; a class or function is refused by its name, and never run."""

import collections
import contextlib
import os
import pickle
import struct
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iteralign.data import pickles
from iteralign.data.pickles import RefusedPickle, plain

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(values, st.integers(2, pickle.HIGHEST_PROTOCOL))
def test_plain_data_comes_back(value: Any, protocol: int) -> None:
    assert plain(pickle.dumps(value, protocol)) == value


def test_the_oldest_protocol() -> None:
    assert plain(pickle.dumps(["a", {"b": 1}], 0)) == ["a", {"b": 1}]


class Trap:
    def __reduce__(self) -> Any:
        return os.system, ("touch trapped",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_function_is_named_and_not_called(
    protocol: int, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RefusedPickle, match=r"class or function \w+\.system"):
        plain(pickle.dumps(["fine", Trap()], protocol))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [collections.OrderedDict(a=1), ValueError("x"), {1, 2}, b"x"], ids=repr)
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(RefusedPickle):
        plain(pickle.dumps(value))


@given(st.binary(max_size=60))
def test_any_bytes_give_a_value_or_one_error(data: bytes) -> None:
    with contextlib.suppress(RefusedPickle):
        plain(data)


def test_half_a_pickle_is_damaged() -> None:
    with pytest.raises(RefusedPickle, match="damaged"):
        plain(pickle.dumps(["a", "b"])[:-4])


GIGABYTES = 3 * 2**30
CLAIMS = {
    "frame": b"\x95" + struct.pack("<Q", GIGABYTES) + b"N.",
    "frame beyond a machine": b"\x95" + struct.pack("<Q", 2**62) + b"N.",
    "long": b"\x8b" + struct.pack("<i", 2**31 - 1) + b".",
    "text": b"X" + struct.pack("<I", GIGABYTES) + b".",
    "long text": b"\x8d" + struct.pack("<Q", 2**40) + b".",
    "string": b"T" + struct.pack("<i", 2**31 - 1) + b".",
    "bytes": b"\x8e" + struct.pack("<Q", GIGABYTES) + b".",
    "bytearray": b"\x96" + struct.pack("<Q", GIGABYTES) + b".",
    "memo": b"N" + b"r" + struct.pack("<I", 2**32 - 1) + b".",
    "memo in digits": b"Np4000000000\n.",
    "number in digits": b"L" + b"9" * 20_000 + b"L\n.",
}
"""Opcodes that announce far more than follows, by what they announce."""


@pytest.mark.parametrize("claim", CLAIMS)
def test_what_a_pickle_claims_is_never_reserved(claim: str) -> None:
    """In a process of its own that may have 1 GiB of address space, less than every claim."""
    source = Path(pickles.__file__).parents[2]
    code = f"""
        import resource, sys
        sys.path.insert(0, {str(source)!r})
        from iteralign.data.pickles import RefusedPickle, plain
        resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
        try:
            print(plain(bytes.fromhex({CLAIMS[claim].hex()!r})))
        except RefusedPickle as error:
            print("refused:", str(error)[:80])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    kind, _, why = done.stdout.strip().partition("refused: ")
    # a MemoryError has no text, so `why` would be "damaged:" alone
    assert (kind, why != "damaged:") == ("", True), done.stdout


PROGRAMS = {
    "persistent id": (b"Pelsewhere\n.", "opcode PERSID"),
    "persistent id, binary": (b"NQ.", "opcode BINPERSID"),
    "extension": (b"\x82\x01.", "opcode EXT1"),
    "call of a text": (b"X\x01\x00\x00\x00a)R.", "opcode REDUCE"),
    "state of a list": (b"]N}b.", "opcode BUILD"),
    "class by name from the stack": (
        b"X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93.",
        "function os.system",
    ),
    "class by name, then more": (b"cos\nsystem\n(Vtrue\ntR.", "function os.system"),
    "old instance": (b"(Vtrue\nios\nsystem\n.", "function os.system"),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_is_refused_for_what_it_would_do(program: str) -> None:
    data, named = PROGRAMS[program]
    with pytest.raises(RefusedPickle, match=named):
        plain(data)


@pytest.mark.parametrize("data", [b"cos\nsystem\n(Vtrue\ntR.", b"Pelsewhere\n.", pickle.dumps(Trap())])
def test_the_unpickler_alone_refuses_too(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second wall stands by itself: without the first look, still nothing is found or called."""
    monkeypatch.setattr(pickles, "_check", lambda _: None)
    with pytest.raises(RefusedPickle, match=r"class or function \w+\.system|outside the file"):
        plain(data)
