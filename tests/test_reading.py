"""Readers are total: whatever a model writes, they return a value and never raise."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iteralign.reading import last_object, last_paragraph, one_line, said
from iteralign.types import Reply

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.text(alphabet='{}[]":,\\\n tfn0e-aé', max_size=80))
def test_any_text_is_read(text: str) -> None:
    assert last_object(text) is None or isinstance(last_object(text), dict)


@given(st.dictionaries(st.text(), json_values, max_size=4), st.text(alphabet="ab {\n`.", max_size=20))
def test_an_object_is_found_behind_any_talk(value: dict[str, Any], talk: str) -> None:
    found = last_object(f"{talk}\n{json.dumps(value)}\nThat is all.")
    assert json.dumps(found) == json.dumps(value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", None),
        ("no object", None),
        ("{not json}", None),
        ('{"label": "harmful"', None),
        ('{"a": 1} then {"a": 2}', {"a": 2}),
        ('The form is {"label": ...}. So: {"label": "harmless"}', {"label": "harmless"}),
        ('```json\n{"a": {"b": 1}}\n```', {"a": {"b": 1}}),
        ('{"reason": "it says {\\"label\\": \\"harmless\\"}"}', {"reason": 'it says {"label": "harmless"}'}),
    ],
)
def test_the_last_whole_object_counts(text: str, found: dict[str, Any] | None) -> None:
    assert last_object(text) == found


def test_depth_and_size_do_not_break_it() -> None:
    assert isinstance(last_object('{"a":' * 3_000 + "1" + "}" * 3_000), dict)
    assert last_object("{" * 2_000) is None
    assert last_object('{"n": ' + "9" * 5_000 + "}") is None


@given(json_values)
def test_a_text_field_is_one_bounded_line(value: Any) -> None:
    line = one_line(value, 10)
    assert len(line) <= 10
    assert len(line.splitlines()) <= 1
    if not isinstance(value, str):
        assert line == ""


def test_a_text_field_is_cut() -> None:
    assert one_line("one\n two  three", 9) == "one two t"


@given(st.text())
def test_the_last_paragraph_holds_no_blank_line(text: str) -> None:
    paragraph = last_paragraph(text)
    assert "\n\n" not in paragraph
    assert paragraph in text


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("Sure, here they are:\n\n1. Be kind.\n2. Be true.", "1. Be kind.\n2. Be true."),
        ("Be kind.", "Be kind."),
        ("Be kind.\n\n", "Be kind."),
        ("1. Be kind.\n\n2. Be true.", "2. Be true."),
        ("", ""),
    ],
)
def test_the_last_paragraph(text: str, last: str) -> None:
    assert last_paragraph(text) == last


def test_a_refusal_is_never_read_as_an_answer() -> None:
    assert said(Reply('{"label": "harmless"}', stop="refusal")) == ""
    assert said(Reply("cut", stop="length")) == "cut"
