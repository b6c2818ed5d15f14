"""Lists from a pickle, without running it.

A pickle is a program, and loading one runs whatever class or function it names. Here its opcodes are first
gone through as data: those that build lists, tuples, dicts, texts, numbers and None pass, which is all that a
list of prompts needs. Then they are loaded by an unpickler that finds no class, so there is nothing to run
even if the two should ever read a file differently.
"""

import io
import pickle
import pickletools
from typing import Any, NoReturn

from iteralign.security import documents

PLAIN = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("NONE", "NEWTRUE", "NEWFALSE"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "MARK"),
    *("GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"),
    *("PROTO", "FRAME", "STOP"),
}
"""What may stand in the file; not bytes either, of which an unpickler reserves as many as are announced."""
CLASSES = {"GLOBAL", "STACK_GLOBAL", "INST"}
PUT = {"PUT", "BINPUT", "LONG_BINPUT"}
WIDEST = 1024
"""Bits of a number: no data set has a wider one, and Python refuses to write out a very wide one."""
OPCODES = 5_000_000
"""Steps of the pickle machine, each of which may push a container (chosen: two or three a text)."""


class RefusedPickle(ValueError):
    """The pickle holds something else than plain data; the text says what."""


def plain(data: bytes) -> Any:
    """The value of a pickle made of builtin containers, texts and numbers. Raises Refused."""
    try:
        _check(data)
        value = documents.shallow(_Plain(io.BytesIO(data)).load())
        _count(value, len(data))
        return _named(value)
    except RefusedPickle:
        raise
    except Exception as error:  # a damaged pickle can fail in any of these steps, in any way
        raise RefusedPickle(f"damaged: {error}") from None


def _count(value: Any, size: int) -> None:
    """Refuse a value that is much more than the file: a pickle may hold one list in a thousand places."""
    values, characters = 0, 0
    rest = [value]
    while rest:
        each = rest.pop()
        if isinstance(each, dict):
            rest += [*each, *each.values()]
        elif isinstance(each, list | tuple):
            rest += each
        elif isinstance(each, str):
            characters += len(each)
        elif isinstance(each, int) and each.bit_length() > WIDEST:
            raise RefusedPickle(f"holds a number of {each.bit_length():,} bits")
        values += 1
        if values > size + 1 or characters > documents.allowance(size):
            raise RefusedPickle("repeats parts of itself until it is far larger than the file")


def _named(value: Any) -> Any:
    """The value with texts as keys, as JSON has them: a table may have numbered columns."""
    if isinstance(value, list | tuple):
        return type(value)(_named(each) for each in value)
    if not isinstance(value, dict):
        return value
    found = {str(key): _named(each) for key, each in value.items() if not isinstance(key, tuple)}
    if len(found) < len(value):
        raise RefusedPickle("has two keys that read alike, or one of several parts")
    return found


class _Plain(pickle.Unpickler):
    """Finds no class, no function and nothing that is kept elsewhere."""

    def find_class(self, module: str, name: str, /) -> NoReturn:
        raise RefusedPickle(f"holds the class or function {module}.{name}")

    def persistent_load(self, pid: Any, /) -> NoReturn:
        raise RefusedPickle("refers to something outside the file")


def _check(data: bytes) -> None:
    """Refuse an opcode that plain data does not need, up to a class, which the unpickler refuses by name."""
    for step, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if step > OPCODES:
            raise RefusedPickle(f"takes more than {OPCODES:,} steps")
        if opcode.name in CLASSES:
            return
        if opcode.name not in PLAIN:
            raise RefusedPickle(f"holds the opcode {opcode.name}")
        # the unpickler's memo is an array as long as the largest number: one opcode could ask for gigabytes
        if opcode.name in PUT and int(argument or 0) > len(data):
            raise RefusedPickle(f"damaged: it numbers a value {argument}, and has {len(data)} bytes")
