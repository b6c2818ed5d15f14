"""Lists from a pickle, without running it.

A pickle is a program, and loading one runs whatever class or function it names. This reader goes through
the opcodes as data and knows only those that build lists, tuples, dicts, texts, numbers and None, which is
all that a list of prompts needs. Everything else is refused by its name, so there is nothing to run.
"""

import pickletools
from collections.abc import Callable
from typing import Any

Stack = list[Any]
MARK = object()

CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING"),
}
"""Opcodes whose argument is the value; `pickletools` has decoded it."""
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
STORE, FETCH = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}
IGNORED = {"PROTO", "FRAME"}
CLASSES = {"GLOBAL", "STACK_GLOBAL", "INST"}


class Refused(ValueError):
    """The pickle holds something else than plain data; the text says what."""


def plain(data: bytes) -> Any:
    """The value of a pickle made of builtin containers, texts and numbers. Raises Refused."""
    stack: Stack = []
    memo: dict[int, Any] = {}
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "STOP":
                return stack.pop()
            _step(opcode.name, argument, stack, memo)
    except Refused:
        raise
    except Exception as error:  # a damaged pickle can fail in any of these steps, in any way
        raise Refused(f"damaged: {error}") from None
    raise Refused("damaged: it has no end")


def _step(name: str, argument: Any, stack: Stack, memo: dict[int, Any]) -> None:
    if name in VALUES:
        stack.append(argument)
    elif name == "MEMOIZE":
        memo[len(memo)] = stack[-1]
    elif name in STORE:
        memo[argument] = stack[-1]
    elif name in FETCH:
        stack.append(memo[argument])
    elif name == "MARK":
        stack.append(MARK)
    elif name in EMPTY:
        stack.append(EMPTY[name]())
    elif name in CONSTANTS:
        stack.append(CONSTANTS[name])
    elif name in CLASSES:
        raise Refused(f"holds the class or function {_named(name, argument, stack)}")
    elif name not in IGNORED:
        _gather(name, stack)


def _gather(name: str, stack: Stack) -> None:
    """The opcodes that put values into containers."""
    if name in TUPLES:
        stack[-TUPLES[name] :] = [tuple(stack[-TUPLES[name] :])]
    elif name in ("LIST", "TUPLE", "DICT"):
        items = _marked(stack)
        stack.append(_pairs(items) if name == "DICT" else list(items) if name == "LIST" else tuple(items))
    elif name in ("APPEND", "APPENDS"):
        items = [stack.pop()] if name == "APPEND" else _marked(stack)
        _top(stack, list).extend(items)
    elif name in ("SETITEM", "SETITEMS"):
        items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else _marked(stack)
        _top(stack, dict).update(_pairs(items))
    else:
        raise Refused(f"holds the opcode {name}")


def _marked(stack: Stack) -> list[Any]:
    """What lies above the last mark, taken off with the mark."""
    at = max(i for i, value in enumerate(stack) if value is MARK)
    items = stack[at + 1 :]
    del stack[at:]
    return items


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(items[::2], items[1::2], strict=True))


def _top(stack: Stack, kind: type) -> Any:
    if not isinstance(stack[-1], kind):
        raise Refused(f"damaged: no {kind.__name__} where one is filled")
    return stack[-1]


def _named(name: str, argument: Any, stack: Stack) -> str:
    if name == "STACK_GLOBAL":
        return ".".join(str(part) for part in stack[-2:])
    return str(argument).replace(" ", ".")
