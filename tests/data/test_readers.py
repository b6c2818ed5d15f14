"""Reading: conversations lose no turn unasked, columns are found or named, blank rows are counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iteralign.data.dialogues import Turns, transcript
from iteralign.data.readers import Layout, ReadRows, bare_question, read
from iteralign.errors import UserError

TALK = "\n\nHuman: one\n\nstill one\n\nAssistant: two\n\nHuman: three\n\nAssistant: four"
UP_TO_FOUR = TALK.removesuffix(" four")
MESSAGES = [
    {"role": "system", "content": "be short"},
    {"role": "user", "content": "one\n\nstill one"},
    {"role": "assistant", "content": "two"},
    {"role": "user", "content": "three"},
    {"role": "assistant", "content": "four"},
]


def reading(*cells: object, turns: Turns | None = None) -> ReadRows:
    return read([{"prompt": cell} for cell in cells], Layout("t", turns=turns))


def text(cell: object, turns: Turns | None = None) -> str:
    return reading(cell, turns=turns).prompts[0].text


@pytest.mark.parametrize(
    ("turns", "of_transcript", "of_messages"),
    [
        (None, "one\n\nstill one", UP_TO_FOUR),
        ("first", "one\n\nstill one", "one\n\nstill one"),
        ("last", "three", "three"),
        ("transcript", UP_TO_FOUR, UP_TO_FOUR),
    ],
)
def test_which_turns_of_a_conversation_are_the_prompt(
    turns: Turns | None, of_transcript: str, of_messages: str
) -> None:
    assert text(TALK, turns) == of_transcript
    assert text(MESSAGES, turns) == of_messages
    cut = 0 if of_messages == UP_TO_FOUR else 1
    left_out = {"system turns": 1} | ({"rows cut to one turn": 1} if cut else {})
    assert reading(MESSAGES, turns=turns).left_out == left_out


@pytest.mark.parametrize(
    "value",
    [
        ["a"],
        [{"role": "user", "content": "a"}],
        [{"role": "developer", "content": "s"}, {"role": "USER", "content": "a"}],
        [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}],
        [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}],
    ],
)
def test_one_turn_of_the_user_is_the_prompt_itself(value: object) -> None:
    assert text(value) == "a"


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (["a", "b"], "row 1: 2 turns of the user without an answer: set turns to first, last or transcript"),
        (
            [{"role": "tool", "content": "a"}],
            "row 1: column 'prompt' holds a turn that is not a text of user",
        ),
        ([{"role": "user", "content": {"url": "x"}}], "a turn that is not a text"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "a turn that is not a text"),
        ([3], "a turn that is not a text"),
        ({"a": 1}, "row 1: column 'prompt' is not a text but dict; its columns are prompt"),
    ],
)
def test_turns_that_cannot_be_read_are_refused(cell: object, said: str) -> None:
    with pytest.raises(UserError) as error:
        reading(cell)
    assert said in str(error.value)


def test_a_blank_line_that_is_no_role_marker_belongs_to_the_turn() -> None:
    assert text("\n\nHuman: a\nAssistant: said b\n\nAssistant: c") == "a\nAssistant: said b"
    assert text(TALK.replace("\n", "\r\n")) == "one\r\n\r\nstill one"


def test_the_users_last_turn_is_kept_where_nobody_answered_it() -> None:
    unanswered = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c"
    assert text(unanswered, "transcript") == f"{unanswered}\n\nAssistant:"


@pytest.mark.parametrize("blank", ["", " ", "\xa0", "\n"])
def test_an_empty_first_turn_is_passed_over(blank: str) -> None:
    assert text(f"\n\nHuman:{blank}\n\nAssistant: x\n\nHuman:\xa0real\xa0\n\nAssistant:") == "real"
    assert reading(f"\n\nHuman:{blank}\n\nAssistant: x").left_out == {"blank": 1}


@pytest.mark.parametrize("cell", ["Human: a", "Ask.\n\nHuman: a\n\nAssistant:", "One. USER: Two? ASSISTANT:"])
def test_a_text_that_is_no_transcript_is_the_prompt_as_it_is(cell: str) -> None:
    assert text(cell) == cell


@given(st.text() | st.text("HumanAsist:\n "))
def test_any_text_is_a_transcript_or_not(value: str) -> None:
    found = transcript(value)
    assert found is None or all(said == said.strip() != "" for _, said in found.turns)


def test_conversations_that_open_alike_are_one_family_in_every_way() -> None:
    longer = TALK + "\n\nHuman: more\n\nAssistant: x"
    first, whole = reading(TALK, longer), reading(TALK, longer, MESSAGES, turns="transcript")
    assert [p.text for p in first.prompts] == ["one\n\nstill one"] * 2
    assert len({p.family for p in first.prompts + whole.prompts}) == 1
    assert len({p.id for p in first.prompts}) == len({p.text for p in whole.prompts}) == 2


def test_the_question_inside_a_template_is_the_family() -> None:
    vicuna = "A chat. USER: Why so? ASSISTANT:"
    chain = "Red-LM: old\n\nNow, given the conversation:\n\nRed-LM: Why so?\n\nGive more. Base-LM: "
    assert bare_question(vicuna) == bare_question(chain) == "Why so?"
    prompts = read([vicuna, chain], Layout("w")).prompts
    assert [p.text for p in prompts] == [vicuna, chain]
    assert {p.family for p in prompts} == {read(["why so"], Layout("c")).prompts[0].family}


def test_the_columns_of_a_set_in_either_form_it_is_published_in() -> None:
    layout = Layout("s", ("Question", "prompt"), ("Category",))
    assert read([{"Question": "a", "Category": "x", "prompt": "no"}], layout).prompts[0].text == "a"
    found = read([{"topic": "x", "prompt": "a"}], layout).prompts
    assert [(p.text, p.topic) for p in found] == [("a", "x")]


def test_own_ids_and_families_are_kept_and_blanks_counted() -> None:
    rows = [{"prompt": "a", "id": 7, "family": "f"}, {"prompt": None}, {"prompt": "\xa0"}, {"prompt": "b"}]
    found = read(rows, Layout("s"))
    a, b = found.prompts
    assert (a.id, a.family) == ("7", "f")
    assert (b.text, found.left_out) == ("b", {"blank": 2})


@pytest.mark.parametrize(
    "name",
    ["topic", "Category", "category", "harm_area", "SemanticCategory", "semantic_category", "harm_category",
     "risk_area", "types_of_harm", "harm_type", "Area", "Categories", "1-category"],
)  # fmt: skip
def test_columns_that_are_topics(name: str) -> None:
    found = read([{"id": "1", name: "law", "prompt": "a"}], Layout("s"))
    assert (found.prompts[0].topic, found.topic) == ("law", name)


def test_the_likeliest_topic_wins_and_several_are_one_topic() -> None:
    row = {"FunctionalCategory": "x", "SemanticCategory": ["law", "order"], "prompt": "a"}
    assert read([row], Layout("s")).prompts[0].topic == "law, order"
    row = {"category": {"law": True, "order": False, "theft": True}, "prompt": "a"}
    assert read([row], Layout("s")).prompts[0].topic == "law, theft"
    assert (
        read([{"category": [[["law"]]], "id": {"oid": "1"}, "prompt": "a"}], Layout("s")).prompts[0].topic
        == ""
    )
    assert read([{"type": "x", "": "1", "prompt": "a"}], Layout("s")).prompts[0].topic == ""


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"instruction": "Shorten.", "input": "Text one."}, "Shorten.\n\nText one."),
        ({"instruction": "Shorten.", "input": " "}, "Shorten."),
        ({"instruction": "Shorten.", "input": None}, "Shorten."),
        ({"instruction": "Shorten.", "instances": [{"input": "Text.", "output": "T."}]}, "Shorten.\n\nText."),
        ({"Behavior": "Do it.", "ContextString": "A letter."}, "A letter.\n\n---\n\nDo it."),
        ({"question": "Who?", "context": "Two people met."}, "Two people met.\n\nWho?"),
        ({"prompt": "Two people met. Who?", "context": "Two people met."}, "Two people met. Who?"),
        (
            {"instruction": "And then?", "history": [["Who?", "He."]]},
            "\n\nHuman: Who?\n\nAssistant: He.\n\nHuman: And then?\n\nAssistant:",
        ),
    ],
)
def test_what_belongs_to_a_prompt_is_part_of_it_and_of_its_family(
    row: dict[str, object], expected: str
) -> None:
    (prompt,) = read([{**row, "output": "x"}], Layout("s")).prompts
    assert prompt.text == expected
    column = next(iter(row))
    for field in (None, column):
        two = read([row, {**row, **{c: None for c in row if c != column}}], Layout("s", field=field)).prompts
        assert (two[0].text == two[1].text) == (expected == row[column])


def test_a_context_that_is_no_text_is_refused() -> None:
    with pytest.raises(UserError, match="column 'context' belongs to the prompt, but is not a text"):
        read([{"prompt": "a", "context": {"title": "b"}}], Layout("s"))


def test_a_column_of_system_turns_is_counted() -> None:
    rows = [{"prompt": "a", "system": "s"}, {"prompt": "b", "system": ""}]
    assert read(rows, Layout("s")).left_out == {"system turns": 1}


def test_half_a_surrogate_pair_becomes_a_text_that_can_be_written() -> None:
    assert read(["a\ud800b"], Layout("s")).prompts[0].text.encode().decode() == "a\ufffdb"


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
        read(rows, Layout("s", field=field))  # type: ignore[arg-type]
    assert said in str(error.value)


@pytest.mark.parametrize("field", [None, "none"])
def test_an_error_shows_no_column_that_is_a_prompt(field: str | None) -> None:
    rows = [{"Why is the sky blue?": "a", "如何在家里制作一块美味的蛋糕": "b"}]
    with pytest.raises(UserError) as error:
        read(rows, Layout("s", field=field))
    assert "sky" not in str(error.value) and "蛋糕" not in str(error.value)
    assert "(20 characters)" in str(error.value)
