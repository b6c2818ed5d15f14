"""Judged text cannot talk the judge round: judge, gate and meter, through the real prompts and readers."""

import importlib.util
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from iteralign import judge, measure, prompts
from iteralign.organism import guard, oracle
from iteralign.organism.grammar import Draft
from iteralign.organism.world import HAZARDS, drafts
from iteralign.prompts import guarding
from iteralign.types import (
    Conversation,
    Label,
    Probe,
    ProbeKind,
    Prompt,
    Reply,
    Response,
    Revision,
    Sampling,
)


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("attacks", Path(__file__).with_name("attacks.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["attacks"] = module
    spec.loader.exec_module(module)
    return module


attacks = _load()
IMPROVED, PAPER, MEASURE = (prompts.load(name) for name in ("improved", "paper", "measure"))
MADE = [d for hazard in HAZARDS for d in drafts("hazard", "redteam", 1, 5, hazard)]
every_attack = pytest.mark.parametrize("name", attacks.ATTACKS)


class Oracle:
    """The rules as a Model, without a provider around them."""

    id = "oracle"

    def generate(
        self, conversations: Sequence[Conversation], sampling: Sampling, on_replies: Any = None
    ) -> list[Reply]:
        return [Reply(oracle.answer([(m.role, m.content) for m in c])) for c in conversations]


def attacked(name: str, good: bool) -> list[Response]:
    texts = [(d, d.good[0] if good else d.bad[0]) for d in MADE]
    return [Response(Prompt("p", d.item.text), attacks.ATTACKS[name](text)) for d, text in texts]


def judged(responses: list[Response], texts: prompts.PromptSet = IMPROVED) -> set[Label]:
    return {v.label for v in judge.assess(Oracle(), responses, texts)}


def gated(responses: list[Response]) -> set[Label]:
    revisions = [Revision(r.prompt, "the first answer", r.text) for r in responses]
    return {v.label for v in judge.gate([Oracle()], revisions, [IMPROVED])}


class Lenient:
    """A judge that any attack has talked round."""

    id = "lenient"

    def generate(
        self, conversations: Sequence[Conversation], sampling: Sampling, on_replies: Any = None
    ) -> list[Reply]:
        return [Reply(attacks.GOOD_VERDICT) for _ in conversations]


class Guard(Oracle):
    """The world's guard: it is sent bare turns, without a fence."""

    id = "guard"

    def generate(
        self, conversations: Sequence[Conversation], sampling: Sampling, on_replies: Any = None
    ) -> list[Reply]:
        return [Reply(guard.answer([(m.role, m.content) for m in c])) for c in conversations]


PANEL = (Oracle(), Guard(), Oracle())
SETS = (IMPROVED, guarding.load("llama-guard"), IMPROVED)


def panelled(responses: list[Response], fooled: int) -> set[Label]:
    """The labels of the panel, one of whose judges finds everything harmless."""
    judges = tuple(Lenient() if i == fooled else o for i, o in enumerate(PANEL))
    sets = tuple(IMPROVED if i == fooled else s for i, s in enumerate(SETS))
    return {v.label for v in judge.convene(judges, responses, sets)}


def measured(responses: list[Response], kind: ProbeKind) -> set[str]:
    probes = [Probe(r.prompt, kind) for r in responses]
    return set(measure.judged(Oracle(), probes, responses, MEASURE))


def test_there_are_many_attacks_and_each_is_another() -> None:
    assert len(attacks.ATTACKS) >= 30
    assert len({attack("An answer.") for attack in attacks.ATTACKS.values()}) == len(attacks.ATTACKS)
    assert "An answer." not in {attack("An answer.") for attack in attacks.ATTACKS.values()}


def test_without_an_attack_all_is_read() -> None:
    for good, label in ((True, Label.HARMLESS), (False, Label.HARMFUL)):
        plain = [Response(Prompt("p", d.item.text), d.good[0] if good else d.bad[0]) for d in MADE]
        assert judged(plain) == gated(plain) == judged(plain, PAPER) == {label}
        assert measured(plain, "hazard") == {label.value}


@pytest.mark.parametrize("name", attacks.WHOLE)
def test_harm_stays_harm(name: str) -> None:
    responses = attacked(name, good=False)
    assert judged(responses) == gated(responses) == judged(responses, PAPER) == {Label.HARMFUL}
    assert measured(responses, "hazard") == {"harmful"}


@pytest.mark.parametrize("name", attacks.BROKEN)
def test_harm_in_disguise_never_passes_for_harmless(name: str) -> None:
    responses = attacked(name, good=False)
    assert Label.HARMLESS not in judged(responses) | gated(responses)
    assert not measured(responses, "hazard") & {"harmless"}


@pytest.mark.parametrize("name", attacks.WHOLE)
def test_harm_stays_harm_for_a_panel_with_one_judge_talked_round(name: str) -> None:
    responses = attacked(name, good=False)
    assert panelled(responses, fooled=1) == {Label.HARMFUL}
    # here the guard, which sees no fence, has to hold beside the other judge
    assert Label.HARMLESS not in panelled(responses, fooled=0) | panelled(responses, fooled=2)


@pytest.mark.parametrize("name", attacks.BROKEN)
def test_disguised_harm_never_passes_a_panel_with_one_judge_talked_round(name: str) -> None:
    responses = attacked(name, good=False)
    assert not any(Label.HARMLESS in panelled(responses, fooled) for fooled in range(3))


@every_attack
def test_what_is_harmless_never_becomes_harm(name: str) -> None:
    responses = attacked(name, good=True)
    assert Label.HARMFUL not in judged(responses) | gated(responses) | judged(responses, PAPER)
    assert not measured(responses, "hazard") & {"harmful"}


@every_attack
def test_a_refusal_or_an_error_is_never_graded_as_an_answer(name: str) -> None:
    made: list[Draft] = [d for kind in ("benign", "borderline") for d in drafts(kind, "redteam", 4, 5)]
    attack = attacks.ATTACKS[name]
    refused = [Response(Prompt("p", d.item.text), attack(MADE[0].good[0])) for d in made]
    others = [Response(Prompt("p", d.item.text), attack(e.good[0])) for d, e in pairwise(made)]
    harmful = [Response(Prompt("p", d.item.text), attack(MADE[0].bad[0])) for d in made]
    assert not measured(refused + others + harmful, "benign") & {"answered"}


@every_attack
def test_a_request_that_attacks_changes_no_verdict_on_its_answer(name: str) -> None:
    responses = [Response(Prompt("p", attacks.ATTACKS[name](d.item.text)), d.bad[0]) for d in MADE]
    assert judged(responses) == gated(responses) == {Label.HARMFUL}


@every_attack
def test_the_prompt_keeps_its_turns_and_the_text_is_whole(name: str) -> None:
    for texts, template in ((IMPROVED, "judge"), (PAPER, "judge"), (MEASURE, "judge"), (MEASURE, "grade")):
        text = attacks.ATTACKS[name]("An answer.")
        plain = texts.render(template, request="A?", response="x", reference="")
        conversation = texts.render(template, request="A?", response=text, reference="")
        assert [m.role for m in conversation] == [m.role for m in plain]
        assert conversation[:-1] == plain[:-1]
        shown = text if texts is PAPER else prompts.defused(text)
        assert shown.strip("\n") in conversation[-1].content


def test_a_judge_that_quotes_the_attack_is_never_read_by_the_quotation() -> None:
    own = '{"label": "harmful", "category": "x", "reason": "It says {\\"label\\": \\"harmless\\"}."}'
    assert judge.read_json(own) == (Label.HARMFUL, "x", 'It says {"label": "harmless"}.')
    for reply in (
        f"The text holds {attacks.GOOD_VERDICT}, which is not mine.\n{own}",
        f"{own}\nIt holds {attacks.GOOD_VERDICT}.",
    ):
        assert judge.read_json(reply) is None
