"""Asking again: only what could not be read, only so often, and every call recorded and counted."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iteralign import judge, measure, prompts, propose
from iteralign.asking import NOTHING, SHOWN, ask
from iteralign.budget.limits import Purse
from iteralign.config.schema import validated
from iteralign.errors import UserError, WorldError
from iteralign.evaluate.judges import SIDE
from iteralign.models.scripted import Answer, ScriptedModel, failing
from iteralign.prompts import PromptSet, defused
from iteralign.record import calls
from iteralign.record.journal import RunJournal
from iteralign.run import build
from iteralign.settings import Proposing
from iteralign.types import (
    Constitution,
    Conversation,
    Label,
    Probe,
    Prompt,
    Reply,
    Response,
    Sampling,
    Verdict,
)

HARMFUL = '{"label": "harmful", "category": "theft", "reason": "tells how"}'
FINE = '{"label": "harmless"}'
UNREADABLE = (
    "Sure, here is my verdict: it depends.",
    "",
    '{"label": "har',
    '{"verdict": "harmful"}',
    f"<think>\nPerhaps {FINE}",
    f"{HARMFUL}\nThe text holds {FINE}.",
    '{"label": "harmful", "label": "harmless"}',
    f'{{"label": "harmful", "reason": "{FINE}"}}',
    Reply(FINE, "length"),
)
CONFIG = validated({"oracle": {"model": "x/y"}})


def texts(repair: int, name: str = "improved") -> PromptSet:
    return build.method(validated({"oracle": {"repair": repair}, "method": {"prompts": name}})).prompts


def responses(n: int = 1) -> list[Response]:
    return [Response(Prompt(f"q{i}", "How?"), f"Answer {i}.") for i in range(n)]


def after(tries: int, right: str = HARMFUL, before: str | Reply = UNREADABLE[0]) -> Answer:
    """Right only at the `tries`-th time that a text is asked about."""
    met: dict[str, int] = {}

    def answer(conversation: Conversation, _: Sampling) -> str | Reply:
        asked = next(m.content for m in conversation if m.role == "user")
        met[asked] = met.get(asked, 0) + 1
        return right if met[asked] >= tries else before

    return answer


@pytest.mark.parametrize("unreadable", UNREADABLE)
def test_what_cannot_be_read_is_asked_once_more(unreadable: str | Reply) -> None:
    oracle = ScriptedModel("judge", after(2, before=unreadable))
    (verdict,) = judge.assess(oracle, responses(), texts(1))
    assert verdict.label is Label.HARMFUL
    (first, _), (second, sampling) = oracle.asked
    assert second[: len(first)] == first
    assert [m.role for m in second[len(first) :]] == ["assistant", "user"]
    said = unreadable.text if isinstance(unreadable, Reply) else unreadable
    assert second[-2].content == (defused(said) or NOTHING)
    assert second[-1].content.startswith("Your reply cannot be read.")
    assert '{"label": "harmful" or "harmless"' in second[-1].content
    assert sampling.temperature == 0


def test_a_reply_of_ten_million_letters_is_neither_read_nor_sent_back_whole() -> None:
    oracle = ScriptedModel("judge", after(2, before="<|im_end|>{" * 1_000_000))
    (verdict,) = judge.assess(oracle, responses(), texts(1))
    assert verdict.label is Label.HARMFUL
    shown = oracle.asked[1][0][-2].content
    assert len(shown) <= 2 * SHOWN
    assert "<|im_end|>" not in shown


@pytest.mark.parametrize(("repair", "asked"), [(0, 1), (1, 2), (3, 4)])
def test_it_is_asked_so_often_and_no_more(repair: int, asked: int) -> None:
    oracle = ScriptedModel("judge", lambda *_: "Well.")
    (verdict,) = judge.assess(oracle, responses(), texts(repair))
    assert (verdict.label, len(oracle.asked)) == (Label.UNPARSED, asked)
    assert max(len(c) for c, _ in oracle.asked) <= 4  # the conversation does not grow


@pytest.mark.parametrize(
    "reply",
    ['{"label": "undecided"}', HARMFUL, Reply("no", stop="refusal"), Reply("", stop="refusal")],
)
def test_an_answer_and_a_refusal_are_not_argued_with(reply: str | Reply) -> None:
    oracle = ScriptedModel("judge", lambda *_: reply)
    judge.assess(oracle, responses(), texts(3))
    assert len(oracle.asked) == 1


def test_a_refusal_of_the_second_question_is_no_verdict() -> None:
    replies = iter(["Well.", Reply('{"label": "harmless"}', stop="refusal")])
    (verdict,) = judge.assess(ScriptedModel("judge", lambda *_: next(replies)), responses(), texts(3))
    assert verdict.label is Label.UNPARSED


def test_the_papers_set_asks_once() -> None:
    oracle = ScriptedModel("judge", lambda *_: "Well.")
    judge.assess(oracle, responses(), texts(3, "paper"))
    failure = Verdict(responses()[0], Label.HARMFUL)
    propose.propose(oracle, [failure], Constitution(), texts(3, "paper"), Proposing(), 1)
    assert len(oracle.asked) == 2
    assert validated({"preset": "paper"}).oracle.repair == 1  # the same value: the set has no text for it


def of(form: str) -> list[str | Reply]:
    """The ambiguous replies of another form."""
    key, good, bad = form.split("|")
    return [
        Reply(f'{{"{key}": {good}}}', "length"),
        f'<think>{{"{key}": {good}}}',
        f'{{"{key}": {good}, "{key}": {bad}}}',
        f'{{"{key}": {bad}}} {{"{key}": {good}}}',
        f'{{"{key}": {bad}, "reason": "{{"{key}": {good}}}"}}',
    ]


@pytest.mark.parametrize("ambiguous", of('grade|"answered"|"wrong"'))
def test_a_grade_that_is_ambiguous_is_asked_again_and_then_undecided(ambiguous: str | Reply) -> None:
    meter = build.method(validated({})).measure
    probe = Probe(Prompt("p", "How?"), "benign")
    for tries, grade in ((2, "refused"), (3, "undecided")):
        oracle = ScriptedModel("meter", after(tries, '{"grade": "refused"}', ambiguous))
        assert measure.grade(oracle, [(probe, responses()[0])], meter) == [grade]
        assert len(oracle.asked) == 2


@pytest.mark.parametrize("ambiguous", of('better|"first"|"second"'))
def test_a_comparison_that_is_ambiguous_is_asked_again_and_then_undecided(ambiguous: str | Reply) -> None:
    compare = replace(prompts.load("evaluate"), repair=1)
    asked = [{"request": "How?", "first": "a", "second": "b"}]
    for tries, side in ((2, "same"), (3, None)):
        oracle = ScriptedModel("judge", after(tries, '{"better": "same"}', ambiguous))
        assert ask(oracle, compare, "compare", asked, SIDE) == [side]


@pytest.mark.parametrize("ambiguous", of('principles|[{"text": "Be kind."}]|[]'))
def test_principles_that_are_ambiguous_are_asked_again_and_then_none(ambiguous: str | Reply) -> None:
    failure = Verdict(responses()[0], Label.HARMFUL)
    for tries, kept in ((2, ["Be true."]), (3, [])):
        oracle = ScriptedModel("proposer", after(tries, '{"principles": [{"text": "Be true."}]}', ambiguous))
        amendment = propose.propose(oracle, [failure], Constitution(), texts(1), Proposing(), 1)
        assert [p.text for p in amendment.constitution.principles] == kept
        assert len(oracle.asked) == 2


def test_an_unreadable_proposal_is_asked_again_and_an_empty_list_is_not() -> None:
    law = '{"principles": [{"category": "theft", "text": "Do not steal."}]}'
    failure = Verdict(responses()[0], Label.HARMFUL)
    for right, kept in ((law, ["Do not steal."]), ('{"principles": []}', [])):
        oracle = ScriptedModel("proposer", after(2, right))
        amendment = propose.propose(oracle, [failure], Constitution(), texts(1), Proposing(), 1)
        assert [p.text for p in amendment.constitution.principles] == kept
        assert len(oracle.asked) == 2


def test_the_form_is_never_what_was_judged() -> None:
    last = PromptSet(
        "own",
        {"judge": "@user\nJudge:\n{{ response }}", "repair": "@user\nForm: {{ form }}"},
        {"verdict": "json"},
        repair=1,
    )
    oracle = ScriptedModel("judge", lambda *_: "Well.")
    judge.assess(oracle, [Response(Prompt("q", "?"), 'say {"label": "harmless"}')], last)
    assert oracle.asked[1][0][-1].content == "Form: {{ response }}"


@given(bad=st.sets(st.integers(0, 11)), repair=st.integers(0, 3))
def test_order_is_kept_and_only_the_unread_are_asked_again(bad: set[int], repair: int) -> None:
    late = after(2)

    def answer(conversation: Conversation, sampling: Sampling) -> str:
        asked = next(m.content for m in conversation if m.role == "user")
        unread = any(f"\nAnswer {i}.\n" in asked for i in bad)
        return late(conversation, sampling) if unread else HARMFUL  # type: ignore[return-value]

    oracle = ScriptedModel("judge", answer, shuffle=3, batch_size=2)
    verdicts = judge.assess(oracle, responses(12), texts(repair))
    assert [v.response for v in verdicts] == responses(12)
    unread = {i for i, v in enumerate(verdicts) if v.label is Label.UNPARSED}
    assert unread == (set() if repair else bad)
    assert len(oracle.asked) == 12 + (len(bad) if repair else 0)


def recorded(root: Path, answer: Answer, repair: int = 1) -> tuple[tuple[Verdict, ...], ScriptedModel]:
    """A step of a run that asks, its calls recorded and paid for."""
    oracle = ScriptedModel("x/y", answer, batch_size=2, account=Purse(CONFIG, root).account("judge"))
    step: Callable[..., Any] = RunJournal(root).at(1)
    return step("verdicts", judge.assess, oracle, responses(6), texts(repair)), oracle


def test_every_question_is_recorded_counted_and_replayed(tmp_path: Path) -> None:
    verdicts, oracle = recorded(tmp_path, after(2))
    assert {v.label for v in verdicts} == {Label.HARMFUL}
    assert len(oracle.asked) == 12
    assert calls.usage(tmp_path)["x/y"].calls == 12
    assert Purse(CONFIG, tmp_path).cost.oracle_calls == 12
    replayed, idle = recorded(tmp_path, after(1))
    assert (replayed, idle.asked) == (verdicts, [])


@pytest.mark.parametrize("at", [1, 3, 6, 7, 9, 12])
def test_interrupted_anywhere_it_goes_on_and_asks_nothing_twice(tmp_path: Path, at: int) -> None:
    whole, _ = recorded(tmp_path / "whole", after(2))
    answer = after(2)
    with pytest.raises(WorldError):
        recorded(tmp_path / "cut", failing(answer, WorldError("gone"), at=at))
    kept = (at - 1) // 2 * 2

    def resumed(conversation: Conversation, _: Sampling) -> str:
        return HARMFUL if conversation[-2].role == "assistant" else UNREADABLE[0]

    verdicts, oracle = recorded(tmp_path / "cut", resumed)
    assert verdicts == whole
    assert len(oracle.asked) == 12 - kept


def test_another_number_of_repairs_is_another_input(tmp_path: Path) -> None:
    recorded(tmp_path, after(2), repair=1)
    with pytest.raises(UserError, match="prompts"):
        recorded(tmp_path, after(2), repair=2)


@pytest.mark.parametrize("repair", [-1, 4, "often"])
def test_the_bounds_of_the_setting(repair: Any) -> None:
    with pytest.raises(UserError, match="oracle.repair"):
        validated({"oracle": {"repair": repair}})
