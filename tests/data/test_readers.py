"""Readers: transcripts are cut at role markers only, columns are found or named, blank rows are left out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iteralign.data.readers import (
    Layout,
    bare_question,
    column,
    first_human_turn,
    to_last_assistant,
    transcript,
    wrapped,
)
from iteralign.errors import UserError

TALK = "\n\nHuman: one\n\nstill one\n\nAssistant: two\n\nHuman: three\n\nAssistant: four"


def test_a_blank_line_that_is_no_role_marker_belongs_to_the_turn() -> None:
    assert first_human_turn(TALK) == "one\n\nstill one"
    assert first_human_turn("\n\nHuman: a\nAssistant: said b\n\nAssistant: c") == "a\nAssistant: said b"


def test_the_last_assistant_speaks_next() -> None:
    assert to_last_assistant(TALK) == TALK.removesuffix(" four")
    assert to_last_assistant("\n\nHuman: a") == "\n\nHuman: a\n\nAssistant:"


@pytest.mark.parametrize("blank", ["", " ", "\xa0", "\n"])
def test_an_empty_first_turn_is_passed_over(blank: str) -> None:
    assert (
        first_human_turn(f"\n\nHuman:{blank}\n\nAssistant: x\n\nHuman:\xa0real\xa0\n\nAssistant:") == "real"
    )
    assert transcript([f"\n\nHuman:{blank}\n\nAssistant: x"], Layout("t")) == ()


def test_crlf_in_a_transcript() -> None:
    assert first_human_turn(TALK.replace("\n", "\r\n")) == "one\r\n\r\nstill one"


@given(st.text())
def test_any_text_has_a_first_turn_or_none(text: str) -> None:
    assert first_human_turn(text) == first_human_turn(text).strip()
    assert to_last_assistant(text).endswith("Assistant:")


def test_transcripts_that_open_alike_are_one_family_in_both_ways() -> None:
    rows = [{"transcript": TALK}, {"transcript": TALK + "\n\nHuman: more\n\nAssistant: x"}]
    first = transcript(rows, Layout("t"))
    whole = transcript(rows, Layout("t", turns="transcript"))
    assert [p.text for p in first] == ["one\n\nstill one"] * 2
    assert len({p.family for p in first + whole}) == 1
    assert len({p.id for p in first}) == len({p.text for p in whole}) == 2


def test_the_question_inside_a_template_is_the_family() -> None:
    vicuna = "A chat. USER: Why so? ASSISTANT:"
    chain = "Red-LM: old\n\nNow, given the conversation:\n\nRed-LM: Why so?\n\nGive more. Base-LM: "
    assert bare_question(vicuna) == bare_question(chain) == "Why so?"
    prompts = wrapped([vicuna, chain], Layout("w"))
    assert [p.text for p in prompts] == [vicuna, chain]
    assert {p.family for p in prompts} == {column(["why so"], Layout("c"))[0].family}


def test_the_columns_of_a_set_in_either_form_it_is_published_in() -> None:
    layout = Layout("s", ("Question", "prompt"), ("Category",))
    assert column([{"Question": "a", "Category": "x", "prompt": "no"}], layout)[0].text == "a"
    assert [(p.text, p.topic) for p in column([{"topic": "x", "prompt": "a"}], layout)] == [("a", "x")]


def test_own_ids_and_families_are_kept_and_blanks_left_out() -> None:
    rows = [{"prompt": "a", "id": 7, "family": "f"}, {"prompt": None}, {"prompt": "\xa0"}, {"prompt": "b"}]
    a, b = column(rows, Layout("s"))
    assert (a.id, a.family) == ("7", "f")
    assert b.text == "b"


@pytest.mark.parametrize(
    "value", [["a", "b"], [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}],
              [{"from": "human", "value": "a"}]],
)  # fmt: skip
def test_of_a_conversation_the_user_speaks_first(value: object) -> None:
    assert column([{"turns": value}], Layout("s"))[0].text == "a"


def test_half_a_surrogate_pair_becomes_a_text_that_can_be_written() -> None:
    assert column(["a\ud800b"], Layout("s"))[0].text.encode().decode() == "a\ufffdb"


@pytest.mark.parametrize(
    ("rows", "field", "said"),
    [
        ([{"goal": "a", "x": "b"}], "gaol", "s: column (field): unknown value 'gaol'; did you mean 'goal'?"),
        ([{"a": "1", "b": "2"}], None, "set field to one of: a, b"),
        ([{"goal": "a"}, {"gaol": "b"}], "goal", "s: row 2: no column 'goal'; its columns are gaol"),
        ([{"goal": 3}], None, "s: row 1: column 'goal' is not a text but int"),
    ],
)
def test_a_wrong_column_names_those_there_are(rows: list[object], field: str | None, said: str) -> None:
    with pytest.raises(UserError) as error:
        column(rows, Layout("s", field=field))  # type: ignore[arg-type]
    assert said in str(error.value)
