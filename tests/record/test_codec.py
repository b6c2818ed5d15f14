"""Codec: what is recorded comes back equal, for every type that a stage takes or returns."""

import dataclasses
import json
import types as builtin
from collections.abc import Mapping
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iteralign import types
from iteralign.prompts import PromptSet
from iteralign.record.artifact import Artifact
from iteralign.record.calls import Call
from iteralign.record.codec import Undecodable, canonical, decode, digest, encode, line, pretty
from iteralign.record.journal import Timing
from iteralign.types import Decoding, Label, Message, Prompt, Rate, Response, Sampling, Verdict, Vote

RECORDED = [
    value
    for value in vars(types).values()
    if isinstance(value, type) and dataclasses.is_dataclass(value) and value is not Decoding
] + [Artifact, Call, Timing]
CONTAINERS: list[Any] = [
    tuple[Verdict, ...],
    list[Prompt],
    dict[str, Rate],
    tuple[int, str] | None,
    tuple[()],
    float | None,
    str,
]
TEXT = st.text() | st.sampled_from(["\ud83d", "a\udc00b", "\u2028", "\r\n", '"\\', "\x00", "žluťoučký 🐎"])


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type, of the floats only those that JSON has."""
    simple: dict[Any, st.SearchStrategy[Any]] = {
        str: TEXT,
        int: st.integers(),
        bool: st.booleans(),
        float: st.floats(allow_nan=False, allow_infinity=False),
        type(None): st.none(),
        Any: st.none() | TEXT | st.lists(st.integers(), max_size=2),
    }
    if kind in simple:
        return simple[kind]
    if kind is Sampling:  # its options have bounds
        shares = st.floats(0.01, 1)
        return st.builds(Sampling, shares, shares, st.integers(1, 9), st.just(("a", "é")), seed=st.integers())
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        fields = {f.name: values(hints[f.name]) for f in dataclasses.fields(kind)}
        return st.fixed_dictionaries(fields).map(lambda found: kind(**found))  # type: ignore[operator]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(kind)
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return st.sampled_from(args)
    if origin in (Union, builtin.UnionType):
        return st.one_of([values(arg) for arg in args])
    if origin is tuple and args[-1:] == (Ellipsis,):
        return st.lists(values(args[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*[values(arg) for arg in args])
    if origin is list:
        return st.lists(values(args[0]), max_size=2)
    assert origin in (dict, Mapping), kind
    return st.dictionaries(TEXT, values(args[1]), max_size=2)


@pytest.mark.parametrize("kind", [*RECORDED, *CONTAINERS], ids=str)
@hypothesis.settings(max_examples=15)
@given(data=st.data())
def test_what_is_recorded_comes_back(kind: Any, data: st.DataObject) -> None:
    value = data.draw(values(kind))
    for text in (pretty(value), line(value), canonical(value)):
        assert decode(kind, json.loads(text.encode("utf-8"))) == value


@hypothesis.settings(max_examples=30)
@given(value=values(Verdict))
def test_equal_values_have_one_digest_and_it_survives_recording(value: Verdict) -> None:
    again = decode(Verdict, json.loads(pretty(value)))
    assert digest(again) == digest(value) == digest(encode(value))


def test_any_field_changes_the_digest() -> None:
    value = Response(Prompt("q1", "text", "family", "topic"), "answer")
    others = [
        dataclasses.replace(value, text="answer "),
        *(
            dataclasses.replace(value, prompt=dataclasses.replace(value.prompt, **{name: "other"}))
            for name in ("id", "text", "family", "topic")
        ),
    ]
    assert len({digest(v) for v in [value, *others]}) == len(others) + 1


def test_a_prompt_set_has_a_digest_of_its_texts_whatever_their_order() -> None:
    one = PromptSet("p", {"judge": "a", "revise": "b"}, {"verdict": "json"})
    same = PromptSet("p", {"revise": "b", "judge": "a"}, {"verdict": "json"})
    other = PromptSet("p", {"judge": "a", "revise": "b."}, {"verdict": "json"})
    assert digest(one) == digest(same) != digest(other)


def test_a_run_recorded_when_verdicts_had_a_severity_is_still_read() -> None:
    verdict = Verdict(
        Response(Prompt("q", "?"), "a"), Label.HARMFUL, votes=(Vote("j", Label.HARMFUL, "theft"),)
    )
    old = {**encode(verdict), "severity": 3}
    old["votes"][0]["severity"] = 2
    assert decode(Verdict, old) == verdict
    with pytest.raises(Undecodable, match="no keys but"):
        decode(Verdict, {**old, "gravity": 3})


def test_one_line_is_one_line() -> None:
    text = line(Message("user", "a\nb\r\u2028\x85c")).encode()
    assert text.endswith(b"}\n")
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize(
    ("kind", "data", "where"),
    [
        (Prompt, [], "value: expected an object"),
        (Prompt, {"id": "q", "text": "t", "colour": "red"}, "value: expected no keys but id, text"),
        (Prompt, {"id": "q"}, "missing 1 required"),
        (Prompt, {"id": "q", "text": 3}, "value.text: expected str"),
        (Rate, {"hits": True, "n": 1, "value": 1, "low": 0, "high": 1}, "value.hits: expected int"),
        (tuple[Prompt, ...], [{"id": "q", "text": None}], "value[0].text: expected str"),
        (tuple[int, str], [1], "value: expected 2 elements"),
        (types.Label, "evil", "'evil' is not a valid Label"),
        (Literal["a", "b"], "c", "value: expected one of ('a', 'b')"),
        (float | None, "x", "value: expected a number or value: expected null"),
        (dict[str, int], {"a": "b"}, "value.a: expected int"),
    ],
)
def test_what_has_another_form_is_refused_by_place(kind: Any, data: Any, where: str) -> None:
    with pytest.raises(Undecodable) as refused:
        decode(kind, data)
    assert where in str(refused.value)


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", print, {1: "a"}, Prompt])
def test_what_has_no_json_form_is_a_bug(value: Any) -> None:
    with pytest.raises(TypeError):
        encode(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_a_number_is_a_bug(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        pretty(value)
