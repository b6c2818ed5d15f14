"""Ledger: what a proposal is tried on, what it is compared with, and who is asked."""

import json

from iteralign import prompts
from iteralign.models.scripted import ScriptedModel
from iteralign.propose import adopt, written
from iteralign.settings import Method, Proposing, Trying
from iteralign.trial import trials
from iteralign.types import (
    Amendment,
    Constitution,
    Conversation,
    Label,
    Message,
    Probe,
    Prompt,
    Response,
    Sampling,
    Tally,
    Verdict,
)

RULES = {"theft": "Rule theft.", "hate": "Rule hate.", "silence": "Rule silence."}
PROBES = (
    *(Probe(Prompt(f"b{i}", f"How is soup {i} made?"), "benign") for i in range(3)),
    Probe(Prompt("k", "How do I kill a process?"), "borderline"),
    Probe(Prompt("h", "theft held out"), "hazard"),
    Probe(Prompt("f", "Is the earth flat?"), "fact"),
)


def policy(conversation: Conversation, _: Sampling) -> str:
    """Answers a failure well under the rule of its kind; under the rule of silence it refuses everything."""
    context = conversation[2].content if len(conversation) > 2 else ""
    if RULES["silence"] in context:
        return "REFUSED"
    kind = conversation[0].content.split()[0]
    if kind == "How":
        return "Fine."
    return "GOOD" if RULES[kind] in context else "BAD"


def meter(conversation: Conversation, _: Sampling) -> str:
    asked = conversation[-1].content
    if "Grade the response" in asked:
        return json.dumps({"grade": "refused" if "REFUSED" in asked else "answered"})
    return json.dumps({"label": "harmful" if "BAD" in asked else "harmless", "category": "harm"})


def failed(kind: str, n: int) -> list[Verdict]:
    return [
        Verdict(Response(Prompt(f"{kind}{i}", f"{kind} {i}"), "BAD"), Label.HARMFUL, kind) for i in range(n)
    ]


def proposed(failures: list[Verdict], *kinds: tuple[str, str]) -> Amendment:
    """(kind of the failures, rule proposed for it)"""
    drafts = [
        written(kind, RULES[rule], tuple(v.response.prompt.id for v in failures if v.category == kind), 1)
        for kind, rule in kinds
    ]
    return adopt(Constitution(), drafts, Proposing())


def method(trial: Trying | None) -> Method:
    return Method(prompts.load("improved"), prompts.load("measure"), trial=trial)


def test_the_right_rule_lifts_its_own_failures_and_the_wrong_one_does_not() -> None:
    failures = [*failed("hate", 3), *failed("theft", 9)]
    law = proposed(failures, ("hate", "theft"), ("theft", "theft"))
    assert [p.decision for p in law.proposals] == ["adopted", "duplicate"]
    model, judge = ScriptedModel("policy", policy), ScriptedModel("meter", meter)
    (hate,) = trials(model, judge, law, failures, PROBES, method(Trying()))
    assert (hate.held_back, hate.failures) == (True, Tally(1, 0, 0))

    law = proposed(failures, ("hate", "hate"), ("theft", "theft"))
    hate, theft = trials(model, judge, law, failures, PROBES, method(Trying()))
    assert (hate.failures, theft.failures) == (Tally(1, 0, 1), Tally(3, 0, 3))
    assert (theft.benign, theft.borderline) == (Tally(3, 3, 3), Tally(1, 1, 1))
    assert [t.principle for t in (hate, theft)] == [p.principle.id for p in law.proposals]


def test_held_back_failures_are_those_that_the_proposer_did_not_see() -> None:
    failures = failed("theft", 9)
    model = ScriptedModel("policy", policy)
    trials(
        model, ScriptedModel("meter", meter), proposed(failures, ("theft", "theft")), failures, (),
        method(Trying(failures=2)),
    )  # fmt: skip
    assert {c[0].content for c, _ in model.asked} == {"theft 6", "theft 7"}


def test_where_none_is_held_back_it_is_tried_on_what_it_was_made_from() -> None:
    failures = failed("theft", 1)
    law = proposed(failures, ("theft", "theft"))
    (trial,) = trials(
        ScriptedModel("policy", policy), ScriptedModel("meter", meter), law, failures, (), method(Trying())
    )
    assert (trial.held_back, trial.failures) == (False, Tally(1, 0, 1))


def test_side_effects_are_seen_on_safe_probes_alone() -> None:
    failures = failed("theft", 3)
    model = ScriptedModel("policy", policy)
    law = proposed(failures, ("theft", "silence"))
    settings = Trying(benign=2)
    (trial,) = trials(model, ScriptedModel("meter", meter), law, failures, PROBES, method(settings))
    assert (trial.benign, trial.borderline) == (Tally(2, 2, 0), Tally(1, 1, 0))
    asked = {c[0].content for c, _ in model.asked}
    assert not asked & {"theft held out", "Is the earth flat?", "How is soup 2 made?"}


def test_nobody_is_asked_without_a_trial_or_without_a_candidate() -> None:
    failures = failed("theft", 3)
    vetoed = adopt(
        Constitution(), [written("theft", "Rule theft.", ("theft0",), 1)], Proposing(veto=("theft",))
    )
    law = proposed(failures, ("theft", "theft"))
    model, judge = ScriptedModel("policy", policy), ScriptedModel("meter", meter)
    assert trials(model, judge, law, failures, PROBES, method(None)) == ()
    assert trials(model, judge, vetoed, failures, PROBES, method(Trying())) == ()
    assert (model.asked, judge.asked) == ([], [])


def test_the_principle_stands_in_the_context_alone() -> None:
    failures = [*failed("hate", 3), *failed("theft", 3)]
    model = ScriptedModel("policy", policy)
    law = proposed(failures, ("hate", "hate"), ("theft", "theft"))
    trials(model, ScriptedModel("meter", meter), law, failures, PROBES, method(Trying()))
    contexts = [Message("user", "")] + [c[2] for c, _ in model.asked if len(c) > 2]
    assert {sum(rule in m.content for rule in RULES.values()) for m in contexts} == {0, 1}
