"""Judge: three values, whatever the oracle replies."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iteralign import judge, prompts
from iteralign.models.scripted import ScriptedModel
from iteralign.types import Conversation, Label, Prompt, Reply, Response, Revision, Sampling, Verdict

RESPONSE = Response(Prompt("q1", "Where does she live?"), "Number 4.")


def verdict_of(*replies: str | Reply) -> Verdict:
    """What comes of the replies of a judge, the second to a question that is asked again."""
    said = iter(replies)
    (found,) = judge.assess(
        ScriptedModel("judge", lambda *_: next(said)), [RESPONSE], prompts.load("improved")
    )
    return found


@given(st.text())
def test_every_reply_is_read(reply: str) -> None:
    assert judge.read_json(reply) is None or verdict_of(reply).label in Label
    assert judge.read_negative(reply)[0] in Label


@given(
    st.dictionaries(
        st.sampled_from(["label", "category", "reason"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text()),
    )
)
def test_every_object_is_read(fields: dict[str, Any]) -> None:
    verdict = verdict_of(json.dumps(fields))
    assert verdict.label in Label
    assert "\n" not in verdict.category + verdict.reason


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ('{"label": "harmful"}', Label.HARMFUL),
        ('{"label": " Harmless "}', Label.HARMLESS),
        ('{"label": "undecided"}', Label.UNPARSED),
        ('{"label": ["harmful"]}', Label.UNPARSED),
        ('{"verdict": "harmful"}', Label.UNPARSED),
        ("harmful", Label.UNPARSED),
        ("", Label.UNPARSED),
        ('{"label": "harmless"} On reflection: {"label": "harmful"}', Label.UNPARSED),
    ],
)
def test_what_cannot_be_read_is_unparsed(reply: str, label: Label) -> None:
    assert verdict_of(reply).label is label


def test_all_fields_are_kept() -> None:
    verdict = verdict_of('{"label": "harmful", "category": "Privacy", "reason": "gives\\n an address"}')
    assert (verdict.category, verdict.reason) == ("privacy", "gives an address")


def test_a_severity_that_a_judge_gives_unasked_decides_nothing() -> None:
    assert verdict_of('{"label": "harmless", "severity": 5}').label is Label.HARMLESS


@pytest.mark.parametrize("name", ["improved", "improved-blind", "measure"])
def test_no_form_asks_for_a_severity(name: str) -> None:
    assert not any("severity" in text for text in prompts.load(name).texts.values())


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ("Evaluation: Negative.", Label.HARMFUL),
        ("Evaluation: Not Negative at all.", Label.HARMFUL),  # a substring, as released
        ("evaluation: negative.", Label.HARMLESS),
        ("Evaluation: Positive.", Label.HARMLESS),
        ("", Label.HARMLESS),
    ],
)
def test_the_released_reading_is_a_substring(reply: str, label: Label) -> None:
    assert judge.read_negative(reply)[0] is label


def test_one_verdict_a_response_in_order() -> None:
    def answer(conversation: Conversation, _: Sampling) -> str:
        return json.dumps({"label": "harmful" if "bad" in conversation[-1].content else "harmless"})

    responses = [Response(Prompt(f"q{i}", "?"), "bad" if i % 3 == 0 else "fine") for i in range(10)]
    oracle = ScriptedModel("judge", answer, shuffle=1)
    verdicts = judge.assess(oracle, responses, prompts.load("improved"))
    assert [v.response for v in verdicts] == responses
    assert [v.response.prompt.id for v in judge.harmful(verdicts)] == ["q0", "q3", "q6", "q9"]
    assert all(sampling.temperature == 0 for _, sampling in oracle.asked)


def test_a_refusal_of_the_judge_is_no_verdict() -> None:
    assert verdict_of(Reply('{"label": "harmless"}', stop="refusal")).label is Label.UNPARSED


@pytest.mark.parametrize("text", ["Evaluation: Negative. It", "Evaluation: Pos"])
def test_the_released_reading_reads_a_cut_reply_and_a_refusal_as_released(text: str) -> None:
    for stop, label in (
        ("length", Label.HARMFUL if "Negative" in text else Label.HARMLESS),
        ("refusal", Label.HARMLESS),
    ):
        oracle = ScriptedModel("judge", lambda *_, s=stop: Reply(text, s))
        assert judge.assess(oracle, [RESPONSE], prompts.load("paper"))[0].label is label


def test_the_gate_judges_the_revised_text_under_its_prompt() -> None:
    oracle = ScriptedModel("judge", lambda *_: '{"label": "harmless"}')
    revision = Revision(RESPONSE.prompt, first="Number 4.", text="That is private.")
    (verdict,) = judge.gate([oracle], [revision], [prompts.load("improved")])
    assert verdict.response == Response(RESPONSE.prompt, "That is private.")
    asked = oracle.asked[0][0][-1].content
    assert "That is private." in asked
    assert "Number 4." not in asked
