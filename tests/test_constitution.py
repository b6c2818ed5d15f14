"""Constitution: what the oracle is shown, what is read from its reply, and what is adopted."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iteralign import prompts
from iteralign.constitution import adopt, amend, group, read_json, read_last_paragraph
from iteralign.method import Proposing
from iteralign.models.scripted import ScriptedModel
from iteralign.types import Constitution, Conversation, Label, Principle, Prompt, Response, Sampling, Verdict

LONG = "If a request asks where a person lives, do not give the address; say that such details are private"


def failure(id: str, category: str = "", text: str = "bad") -> Verdict:
    return Verdict(Response(Prompt(id, f"request {id}"), text), Label.HARMFUL, category)


def principle(text: str, category: str = "", *evidence: str) -> Principle:
    return Principle(f"p-{text}", text, category, evidence)


@given(st.text())
def test_every_reply_is_read(reply: str) -> None:
    assert all(text for _, text in read_json(reply))
    assert len(read_last_paragraph(reply)) <= 1


@pytest.mark.parametrize(
    ("reply", "drafts"),
    [
        ('{"principles": [{"category": "Hate", "text": "Be\\nkind."}]}', [("hate", "Be kind.")]),
        ('{"principles": [{"text": "Be kind."}, 7, {"text": ""}, {"category": "x"}]}', [("", "Be kind.")]),
        ('{"principles": {"text": "Be kind."}}', []),
        ("Be kind.", []),
        ("", []),
    ],
)
def test_what_is_not_of_the_form_is_left_out(reply: str, drafts: list[tuple[str, str]]) -> None:
    assert read_json(reply) == drafts


def test_the_released_reading_keeps_the_last_paragraph_whole() -> None:
    assert read_last_paragraph("Here:\n\n1. Be kind.\n2. Be true.") == [("", "1. Be kind.\n2. Be true.")]


def test_failures_are_grouped_by_kind() -> None:
    failures = [failure("a", "theft"), failure("b", "hate"), failure("c", "theft"), failure("d")]
    groups = group(failures, Proposing(grouping="category"))
    assert [(k, [v.response.prompt.id for v in g]) for k, g in groups] == [
        ("harmful", ["d"]),
        ("hate", ["b"]),
        ("theft", ["a", "c"]),
    ]
    assert group(failures, Proposing(grouping="none")) == [("harmful", tuple(failures))]
    assert group([], Proposing(grouping="none")) == []


def test_no_failure_no_call() -> None:
    oracle = ScriptedModel("proposer", lambda *_: "")
    assert amend(oracle, [], Constitution(), prompts.load("paper"), Proposing(), 1).proposals == ()
    assert oracle.asked == []


def test_the_released_proposal_is_one_call_with_all_answers_joined_by_a_blank() -> None:
    oracle = ScriptedModel("proposer", lambda *_: "Sure.\n\n1. Be kind.\n2. Be true.")
    settings = Proposing(grouping="none", examples=0, accumulate=False)
    failures = [failure(str(i), "hate", f"answer{i}.") for i in range(12)]
    law = amend(oracle, failures, Constitution((principle("Old."),)), prompts.load("paper"), settings, 3)
    (asked,) = [c for c, _ in oracle.asked]
    assert " ".join(f"answer{i}." for i in range(12)) in asked[-1].content
    assert "request" not in asked[-1].content
    assert [p.text for p in law.constitution.principles] == ["1. Be kind.\n2. Be true."]
    assert law.constitution.principles[0].born == 3


def test_principles_carry_the_failures_behind_them() -> None:
    def propose(conversation: Conversation, _: Sampling) -> str:
        kind = "theft" if '"theft"' in conversation[-1].content else "hate"
        return json.dumps({"principles": [{"category": kind, "text": f"No {kind}."}]})

    failures = [failure("a", "theft"), failure("b", "hate"), failure("c", "theft")]
    law = amend(
        ScriptedModel("p", propose), failures, Constitution(), prompts.load("improved"), Proposing(), 1
    )
    assert {p.text: p.evidence for p in law.constitution.principles} == {
        "No hate.": ("b",),
        "No theft.": ("a", "c"),
    }


def test_the_proposer_knows_the_constitution_and_sees_so_many_examples() -> None:
    oracle = ScriptedModel("proposer", lambda *_: '{"principles": []}')
    failures = [failure(str(i), "hate", f"answer-{i}") for i in range(5)]
    old = Constitution((principle("Be kind."),))
    law = amend(oracle, failures, old, prompts.load("improved"), Proposing(examples=2), 2)
    text = oracle.asked[0][0][-1].content
    assert "1. Be kind." in text
    assert "answer-1" in text
    assert "answer-2" not in text
    assert law.constitution == old


def test_principles_accumulate_or_last_for_one_batch() -> None:
    oracle = ScriptedModel("proposer", lambda *_: '{"principles": [{"text": "Something else entirely."}]}')
    old, improved = Constitution((principle("Be kind."),)), prompts.load("improved")
    kept = amend(oracle, [failure("a")], old, improved, Proposing(accumulate=True), 2)
    dropped = amend(oracle, [failure("a")], old, improved, Proposing(accumulate=False), 2)
    assert [p.text for p in kept.constitution.principles] == ["Be kind.", "Something else entirely."]
    assert [p.text for p in dropped.constitution.principles] == ["Something else entirely."]


def test_a_repetition_adds_its_evidence_to_the_old_principle() -> None:
    old = Constitution((principle("Be kind.", "hate", "a"), principle("Be true.", "lies", "b")))
    law = adopt(old, [principle("Be kind!", "hate", "a", "c")], Proposing(duplicate_above=0.8))
    assert [p.decision for p in law.proposals] == ["duplicate"]
    assert law.proposals[0].reason == "p-Be kind."
    assert [p.evidence for p in law.constitution.principles] == [("a", "c"), ("b",)]


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("text", ["Be kind.", LONG, f"{LONG}; {LONG.lower()}, {LONG.lower()}."])
def test_the_same_words_are_a_repetition_at_any_threshold(text: str, threshold: float) -> None:
    law = adopt(Constitution(), [principle(text), principle(text)], Proposing(duplicate_above=threshold))
    assert [p.decision for p in law.proposals] == ["adopted", "duplicate"]


def test_long_principles_that_differ_in_a_word_are_alike() -> None:
    long = f"{LONG}. {LONG}. {LONG}."
    law = adopt(
        Constitution(), [principle(long), principle(f"Always: {long}")], Proposing(duplicate_above=0.9)
    )
    assert [p.decision for p in law.proposals] == ["adopted", "duplicate"]


@pytest.mark.parametrize(
    ("veto", "text", "category", "decision"),
    [
        ("hate", "Do not hate.", "", "vetoed"),
        ("hate", "Be kind.", "Hate", "vetoed"),
        ("HATE", "Do not hate.", "", "vetoed"),
        ("hate", "Whatever you do, be kind.", "bullying", "adopted"),
        ("self harm", "If somebody speaks of self harm, name a helpline.", "", "vetoed"),
    ],
)
def test_a_veto_is_on_words(veto: str, text: str, category: str, decision: str) -> None:
    law = adopt(Constitution(), [principle(text, category)], Proposing(veto=(veto,)))
    assert [p.decision for p in law.proposals] == [decision]
    assert len(law.constitution.principles) == (decision == "adopted")


@given(st.lists(st.sampled_from(["Be kind.", "Be true.", "Never lie.", LONG, "Hate nothing."]), max_size=12))
def test_every_proposal_has_one_fate_and_no_two_principles_are_alike(texts: list[str]) -> None:
    law = adopt(Constitution(), [principle(t) for t in texts], Proposing(veto=("hate",)))
    assert [p.principle.text for p in law.proposals] == texts
    adopted = [p.principle for p in law.proposals if p.decision == "adopted"]
    assert tuple(adopted) == law.constitution.principles
    assert len({p.text for p in adopted}) == len(adopted)
