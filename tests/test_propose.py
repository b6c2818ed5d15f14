"""Constitution: what the oracle is shown, what is read from its reply, and what is adopted."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iteralign import prompts
from iteralign.models.scripted import ScriptedModel
from iteralign.propose import (  # fmt: skip
    adopt,
    decide,
    first,
    group,
    parted,
    propose,
    read_json,
    read_last_paragraph,
    written,
)
from iteralign.settings import Proposing, Trying
from iteralign.types import (
    Amendment,
    Constitution,
    Conversation,
    Label,
    Principle,
    Prompt,
    Proposal,
    Response,
    Sampling,
    Tally,
    Trial,
    Verdict,
)

LONG = "If a request asks where a person lives, do not give the address; say that such details are private"


def failure(id: str, category: str = "", text: str = "bad") -> Verdict:
    return Verdict(Response(Prompt(id, f"request {id}"), text), Label.HARMFUL, category)


def principle(text: str, category: str = "", *evidence: str) -> Principle:
    return Principle(f"p-{text}", text, category, evidence)


@given(st.text())
def test_every_reply_is_read(reply: str) -> None:
    assert all(text for _, text in read_json(reply) or ())
    assert len(read_last_paragraph(reply)) <= 1


@pytest.mark.parametrize(
    ("reply", "drafts"),
    [
        ('{"principles": [{"category": "Hate", "text": "Be\\nkind."}]}', [("hate", "Be kind.")]),
        ('{"principles": [{"text": "Be kind."}, 7, {"text": ""}, {"category": "x"}]}', [("", "Be kind.")]),
        ('{"principles": []}', []),
        ('{"principles": ["Be kind."]}', None),
        ('{"principles": {"text": "Be kind."}}', None),
        ("Be kind.", None),
        ("", None),
    ],
)
def test_what_is_not_of_the_form_is_left_out(reply: str, drafts: list[tuple[str, str]] | None) -> None:
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
    assert propose(oracle, [], Constitution(), prompts.load("paper"), Proposing(), 1).proposals == ()
    assert oracle.asked == []


def test_the_released_proposal_is_one_call_with_all_answers_joined_by_a_blank() -> None:
    oracle = ScriptedModel("proposer", lambda *_: "Sure.\n\n1. Be kind.\n2. Be true.")
    settings = Proposing(grouping="none", examples=0, accumulate=False)
    failures = [failure(str(i), "hate", f"answer{i}.") for i in range(12)]
    law = propose(oracle, failures, Constitution((principle("Old."),)), prompts.load("paper"), settings, 3)
    (asked,) = [c for c, _ in oracle.asked]
    assert " ".join(f"answer{i}." for i in range(12)) in asked[-1].content
    assert "request" not in asked[-1].content
    assert [p.text for p in law.constitution.principles] == ["1. Be kind.\n2. Be true."]
    assert law.constitution.principles[0].born == 3


def test_principles_carry_the_failures_behind_them() -> None:
    def said(conversation: Conversation, _: Sampling) -> str:
        kind = "theft" if "\ntheft\n" in conversation[-1].content else "hate"
        return json.dumps({"principles": [{"category": kind, "text": f"No {kind}."}]})

    failures = [failure("a", "theft"), failure("b", "hate"), failure("c", "theft")]
    law = propose(
        ScriptedModel("p", said), failures, Constitution(), prompts.load("improved"), Proposing(), 1
    )
    assert {p.text: p.evidence for p in law.constitution.principles} == {
        "No hate.": ("b",),
        "No theft.": ("a", "c"),
    }


def test_the_proposer_knows_the_constitution_and_sees_so_many_examples() -> None:
    oracle = ScriptedModel("proposer", lambda *_: '{"principles": []}')
    failures = [failure(str(i), "hate", f"answer-{i}") for i in range(5)]
    old = Constitution((principle("Be kind."),))
    law = propose(oracle, failures, old, prompts.load("improved"), Proposing(examples=2), 2)
    text = oracle.asked[0][0][-1].content
    assert "1. Be kind." in text
    assert "answer-1" in text
    assert "answer-2" not in text
    assert law.constitution == old


def test_principles_accumulate_or_last_for_one_batch() -> None:
    oracle = ScriptedModel("proposer", lambda *_: '{"principles": [{"text": "Something else entirely."}]}')
    old, improved = Constitution((principle("Be kind."),)), prompts.load("improved")
    kept = propose(oracle, [failure("a")], old, improved, Proposing(accumulate=True), 2)
    dropped = propose(oracle, [failure("a")], old, improved, Proposing(accumulate=False), 2)
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


@pytest.mark.parametrize(
    ("failures", "examples", "shown"),
    [(1, 8, 1), (2, 8, 2), (3, 8, 2), (9, 8, 6), (30, 8, 8), (12, 0, 12)],
)
def test_a_third_of_the_failures_is_held_back_from_the_proposer(
    failures: int, examples: int, shown: int
) -> None:
    members = [failure(str(i), "hate") for i in range(failures)]
    seen, held = parted(members, Proposing(examples=examples))
    assert (len(seen), list(seen + held)) == (shown, members)
    oracle = ScriptedModel("proposer", lambda *_: '{"principles": []}')
    propose(oracle, members, Constitution(), prompts.load("improved"), Proposing(examples=examples), 1)
    (asked,) = [c[-1].content for c, _ in oracle.asked]
    assert [f"request {i}\n" in asked for i in range(failures)] == [i < shown for i in range(failures)]


def tried(failures: tuple[int, int, int], *safe: tuple[int, int, int], held_back: bool = True) -> Trial:
    benign, borderline = (*safe, (0, 0, 0), (0, 0, 0))[:2]
    return Trial("p-Be kind.", held_back, Tally(*failures), Tally(*benign), Tally(*borderline))


@pytest.mark.parametrize(
    ("trial", "decision", "reason"),
    [
        (tried((4, 0, 1)), "adopted", "1 of 4 held-back failures"),
        (tried((4, 0, 1), held_back=False), "adopted", "1 of 4 failures"),
        (tried((4, 1, 1)), "rejected", "1 of 4 held-back failures well with it, 1 without"),
        (tried((4, 2, 0)), "rejected", "0 of 4"),
        (tried((4, 4, 4)), "adopted", "4 of 4"),  # nothing is left that it could raise
        (tried((4, 0, 4), (8, 8, 7), (8, 8, 8)), "adopted", "4 of 4"),
        (tried((4, 0, 4), (8, 8, 7), (8, 8, 7)), "rejected", "spoils 2 of 16 safe requests"),
        (tried((4, 0, 4), (8, 8, 4), (8, 2, 8)), "adopted", "4 of 4"),
    ],
)
def test_adoption_is_a_decision_with_a_reason(trial: Trial, decision: str, reason: str) -> None:
    other, new = principle("Be true."), principle("Be kind.")
    proposed = Amendment(Constitution((other, new)), (Proposal(new, "adopted"),))
    law = decide(proposed, [trial], Trying())
    assert [p.decision for p in law.proposals] == [decision]
    assert reason in law.proposals[0].reason
    assert law.constitution.principles == ((other, new) if decision == "adopted" else (other,))
    assert decide(proposed, [trial], None) == proposed


def test_what_was_not_tried_keeps_its_fate() -> None:
    new = principle("Be kind.")
    proposed = Amendment(Constitution(), (Proposal(new, "vetoed", "contains 'kind'"),))
    assert decide(proposed, [], Trying()) == proposed


def test_given_principles_are_in_force_and_none_is_proposed() -> None:
    given_ = (written("", "Be kind."), written("", "Be true."))
    oracle = ScriptedModel("proposer", lambda *_: "")
    for accumulate in (True, False):
        settings = Proposing(source="given", given=given_, accumulate=accumulate)
        assert first(settings).principles == given_
        law = propose(oracle, [failure("a")], first(settings), prompts.load("improved"), settings, 1)
        assert (law.constitution.principles, law.proposals) == (given_, ())
    assert oracle.asked == []
    assert first(Proposing()) == Constitution()


def test_principles_are_drawn_whatever_failed() -> None:
    pool = tuple(written("", f"Be {w}.") for w in ("kind", "true", "brief", "calm", "exact", "open"))
    oracle, failures = ScriptedModel("proposer", lambda *_: ""), [failure(k, k) for k in "abc"]

    def drawn(seed: int, t: int) -> list[str]:
        settings = Proposing(source="drawn", given=pool, seed=seed, duplicate_above=1.0)
        law = propose(oracle, failures, Constitution(), prompts.load("improved"), settings, t)
        assert [(p.principle.category, p.principle.evidence) for p in law.proposals] == [
            (k, (k,)) for k in "abc"
        ]
        return [p.principle.text for p in law.proposals]

    assert drawn(0, 1) == drawn(0, 1)
    assert len({tuple(drawn(seed, t)) for seed in range(4) for t in range(4)}) > 8
    assert {text for seed in range(20) for text in drawn(seed, 1)} == {p.text for p in pool}
    assert oracle.asked == []
