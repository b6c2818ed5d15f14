"""Pickles: plain data comes out as it went in; a class or function is refused by its name, and never run."""

import collections
import contextlib
import os
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iteralign.data.pickles import Refused, plain

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
    with pytest.raises(Refused, match=r"class or function \w+\.system"):
        plain(pickle.dumps(["fine", Trap()], protocol))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [collections.OrderedDict(a=1), ValueError("x"), {1, 2}, b"x"], ids=repr)
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(Refused):
        plain(pickle.dumps(value))


@given(st.binary(max_size=60))
def test_any_bytes_give_a_value_or_one_error(data: bytes) -> None:
    with contextlib.suppress(Refused):
        plain(data)


def test_half_a_pickle_is_damaged() -> None:
    with pytest.raises(Refused, match="damaged"):
        plain(pickle.dumps(["a", "b"])[:-4])
