"""Revise: what stands in the policy's context when it answers again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iteralign import prompts, redteam
from iteralign.models.scripted import ScriptedModel
from iteralign.revise import TEMPERATURE, principles_for, respond, splice
from iteralign.settings import Revising
from iteralign.types import (
    Constitution,
    Conversation,
    Label,
    Message,
    Principle,
    Prompt,
    Reply,
    Response,
    Sampling,
    Verdict,
)

KIND = Principle("p-kind", "Be kind.", "hate", evidence=("q1",))
TRUE = Principle("p-true", "Be true.", "lies", evidence=("q2",))
LAW = Constitution((KIND, TRUE))


def failure(id: str = "q1", category: str = "", text: str = "Say it.") -> Verdict:
    return Verdict(Response(Prompt(id, text), "Bad answer."), Label.HARMFUL, category)


def test_the_released_splice() -> None:
    assert splice("Say it.", "Be kind.") == " Be kind.\n\nSay it."
    assert splice("Head\n\nUSER: Say it.", "Be kind.") == "Head Be kind.\n\nUSER: Say it."
    assert splice("A\n\nB\n\nC", "Be kind.") == "A\n\nB Be kind.\n\nC"
    assert splice("Say it.", "") == "Say it."


@given(st.text(), st.text(min_size=1))
def test_a_splice_loses_nothing(prompt: str, constitution: str) -> None:
    spliced = splice(prompt, constitution)
    assert spliced.endswith("\n\n" + prompt.rpartition("\n\n")[2])
    assert (
        spliced.replace(f" {constitution}\n\n", "", 1)
        == prompt.rpartition("\n\n")[0] + prompt.rpartition("\n\n")[2]
    )


def test_relevant_principles_come_from_the_same_failure_or_its_kind() -> None:
    settings = Revising(show="relevant")
    assert principles_for(failure("q1"), LAW, settings) == (KIND,)
    assert principles_for(failure("q9", "lies"), LAW, settings) == (TRUE,)
    assert principles_for(failure("q1", "lies"), LAW, settings) == (KIND, TRUE)
    assert principles_for(failure("q9"), LAW, settings) == (KIND, TRUE)  # none fits: all are shown


def test_no_category_is_not_a_kind() -> None:
    nameless = Constitution((Principle("p-1", "Be good.", "", ("q5",)), KIND))
    assert principles_for(failure("q1", ""), nameless, Revising(show="relevant")) == (KIND,)


def test_the_control_shows_none() -> None:
    assert principles_for(failure(), LAW, Revising(constitution="none")) == ()


def test_the_whole_constitution() -> None:
    assert principles_for(failure("q1"), LAW, Revising(show="all")) == (KIND, TRUE)


def test_by_critique_the_model_sees_its_answer_and_criticises_first() -> None:
    model = ScriptedModel("policy", lambda c, _: "Better." if len(c) == 5 else "It broke principle 1.")
    settings = Revising(candidates=1)
    (revision,) = respond(model, [failure()], LAW, prompts.load("improved"), settings, Sampling())
    assert (revision.first, revision.critique, revision.text) == (
        "Bad answer.",
        "It broke principle 1.",
        "Better.",
    )
    assert revision.shown == ("p-kind",)
    last = model.asked[-1][0]
    assert [m.role for m in last] == ["user", "assistant", "user", "assistant", "user"]
    assert [m.content for m in last[:2]] == ["Say it.", "Bad answer."]
    assert "1. Be kind." in last[2].content
    assert "Be true." not in last[2].content
    assert last[3].content == "It broke principle 1."


def test_by_splice_the_model_sees_neither_its_answer_nor_a_critique() -> None:
    model = ScriptedModel("policy", lambda *_: "Better.")
    settings = Revising(show="all", candidates=1)
    (revision,) = respond(model, [failure()], LAW, prompts.load("paper"), settings, Sampling())
    assert model.asked[0][0] == (Message("user", " Be kind.\nBe true.\n\nSay it."),)
    assert (revision.critique, revision.text) == ("", "Better.")


def test_the_first_candidate_is_decoded_as_the_run_decodes_and_the_rest_are_sampled() -> None:
    model = ScriptedModel("policy", lambda *_: "Better.")
    two = [failure("q1"), failure("q2")]
    revisions = respond(
        model, two, LAW, prompts.load("paper"), Revising(show="all", candidates=3), Sampling(seed=7)
    )
    assert [r.prompt.id for r in revisions] == ["q1", "q2"] * 3
    samplings = [s for _, s in model.asked]
    assert [s.temperature for s in samplings] == [0.0] * 2 + [TEMPERATURE] * 4
    assert [s.seed for s in samplings] == [7, 7, 8, 8, 9, 9]


def test_no_failure_asks_nothing() -> None:
    model = ScriptedModel("policy", lambda *_: "?")
    assert respond(model, [], LAW, prompts.load("improved"), Revising(), Sampling()) == ()
    assert model.asked == []


@pytest.mark.parametrize("way", ["improved", "paper"])
def test_an_answer_that_max_tokens_cut_off_says_so_from_the_model_to_the_revision(way: str) -> None:
    def answer(conversation: Conversation, _: Sampling) -> Reply:
        text = conversation[0].content
        return Reply("It goes on and", "length") if "long" in text else Reply("It ends.")

    model, prompts_ = ScriptedModel("policy", answer), prompts.load(way)
    failures = [failure("q1", text="Say it."), failure("q2", text="Say a long one.")]
    revisions = respond(model, failures, LAW, prompts_, Revising(candidates=1), Sampling())
    assert [(r.text, r.cut) for r in revisions] == [("It ends.", False), ("It goes on and", True)]
    answers = redteam.respond(model, [f.response.prompt for f in failures], Sampling())
    assert [(r.text, r.cut) for r in answers] == [("It ends.", False), ("It goes on and", True)]
