"""Codec: the values of `types.py` to JSON and back, steered by type annotations alone.

Not pydantic, which refuses a lone surrogate and lets damage pass: design/0002-journal.md has the cases.
`decode(T, encode(x)) == x` for every x of type T, except that a surrogate pair written as two characters
comes back as one.
"""

import hashlib
import json
import re
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

Json = Any
"""None, bool, int, float, str, list or dict of these."""

GONE = frozenset({"severity"})
"""Fields of values that older runs recorded and that nothing reads any more: such a run can still be shown."""
LARGEST = 2**256
"""No whole number on record is as large: one that is cannot even be written out."""

_SURROGATE = re.compile("[\ud800-\udfff]")


class Undecodable(ValueError):
    """JSON that does not have the form of the type asked for; the text says where."""


def encode(value: Any) -> Json:
    """`value` as JSON. Raises TypeError for what has no JSON form: functions, paths, sets, objects."""
    if isinstance(value, Enum):
        return encode(value.value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {_key(k): encode(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [encode(v) for v in value]
    raise TypeError(f"{type(value).__qualname__} has no JSON form; stages take and return plain values")


def decode(kind: Any, data: Json, where: str = "value") -> Any:
    """The value of type `kind` that `data` stands for. Raises Undecodable."""
    if kind is Any:
        return data
    if is_dataclass(kind):
        return _dataclass(kind, data, where)
    origin = get_origin(kind)
    if origin is not None:
        read = _GENERIC.get(origin)
        assert read is not None, f"{kind} is not a type that can be recorded"
        return read(get_args(kind), data, where)
    return _plain(kind, data, where)


def canonical(value: Any) -> str:
    """One spelling for equal values: what digests are made of."""
    return json.dumps(encode(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """sha256 of the canonical JSON."""
    return hashlib.sha256(canonical(value).encode("ascii")).hexdigest()


def pretty(value: Any) -> str:
    """For people and `diff`: sorted keys, two blanks, all scripts unescaped, valid UTF-8 always."""
    text = json.dumps(encode(value), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return _escape(text) + "\n"


def line(value: Any) -> str:
    """The same on one line, for JSONL."""
    return _escape(json.dumps(encode(value), sort_keys=True, ensure_ascii=False, allow_nan=False)) + "\n"


def _escape(text: str) -> str:
    return _SURROGATE.sub(lambda m: f"\\u{ord(m[0]):04x}", text)


def _key(key: Any) -> str:
    if type(key) is not str:
        raise TypeError(f"a key of a recorded mapping is text, not {type(key).__qualname__}")
    return key


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _dataclass(kind: Any, data: Json, where: str) -> Any:
    _expect(isinstance(data, dict), "an object", where)
    hints = _hints(kind)
    _expect(data.keys() - GONE <= hints.keys(), f"no keys but {', '.join(hints)}", where)
    values = {name: decode(hints[name], v, f"{where}.{name}") for name, v in data.items() if name in hints}
    try:
        return kind(**values)
    except TypeError as error:
        raise Undecodable(f"{where}: {error}") from None


def _plain(kind: Any, data: Json, where: str) -> Any:
    if kind is None or kind is type(None):
        _expect(data is None, "null", where)
        return None
    if kind is float:
        _expect(type(data) in (int, float) and abs(data) <= sys.float_info.max, "a number", where)
        return float(data)
    if isinstance(kind, type) and issubclass(kind, Enum):
        _expect(isinstance(data, str), "a text", where)
        try:
            return kind(data)
        except ValueError as error:
            raise Undecodable(f"{where}: {error}") from None
    assert kind in (str, int, bool), f"{kind} is not a type that can be recorded"
    _expect(type(data) is kind and (kind is not int or abs(data) < LARGEST), kind.__name__, where)
    return data


def _tuple(args: tuple[Any, ...], data: Json, where: str) -> tuple[Any, ...]:
    _expect(isinstance(data, list), "a list", where)
    kinds = [args[0]] * len(data) if args[-1:] == (Ellipsis,) else list(args)
    _expect(len(kinds) == len(data), f"{len(kinds)} elements", where)
    return tuple(
        decode(kind, v, f"{where}[{i}]") for i, (kind, v) in enumerate(zip(kinds, data, strict=True))
    )


def _list(args: tuple[Any, ...], data: Json, where: str) -> list[Any]:
    return list(_tuple((*args, Ellipsis), data, where))


def _dict(args: tuple[Any, ...], data: Json, where: str) -> dict[str, Any]:
    _expect(isinstance(data, dict), "an object", where)
    return {k: decode(args[1], v, f"{where}.{k}") for k, v in data.items()}


def _literal(args: tuple[Any, ...], data: Json, where: str) -> Any:
    _expect(any(type(data) is type(a) and data == a for a in args), f"one of {args}", where)
    return data


def _union(args: tuple[Any, ...], data: Json, where: str) -> Any:
    reasons = []
    for kind in args:
        try:
            return decode(kind, data, where)
        except Undecodable as error:
            reasons.append(str(error))
    raise Undecodable(" or ".join(reasons))


_GENERIC: dict[Any, Callable[[tuple[Any, ...], Json, str], Any]] = {
    tuple: _tuple,
    list: _list,
    Sequence: lambda args, data, where: _tuple((*args, Ellipsis), data, where),
    dict: _dict,
    Mapping: _dict,
    Literal: _literal,
    Union: _union,
    types.UnionType: _union,
}


def _expect(good: bool, what: str, where: str) -> None:
    if not good:
        raise Undecodable(f"{where}: expected {what}")
