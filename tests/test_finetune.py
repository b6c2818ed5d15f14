"""Fine-tune: which revisions become rows, and what a row holds."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iteralign import finetune
from iteralign.types import Checkpoint, Example, Label, Prompt, Response, Revision, Verdict

labels = st.sampled_from(Label)
cases = st.lists(st.tuples(st.sampled_from("abc"), labels, st.sampled_from(["", " ", "Better.", "Best."])))


def revision(id: str, text: str, candidate: int = 0) -> Revision:
    return Revision(Prompt(id, f"request {id}"), "bad", text, candidate=candidate)


def verdict(r: Revision, label: Label) -> Verdict:
    return Verdict(Response(r.prompt, r.text), label)


def accepted(rows: Sequence[tuple[str, Label, str]], gate: bool) -> tuple[Revision, ...]:
    revisions = [revision(id, text, i) for i, (id, _, text) in enumerate(rows)]
    verdicts = [verdict(r, label) for r, (_, label, _) in zip(revisions, rows, strict=True)]
    return finetune.accept(revisions, verdicts, gate)


@given(cases, st.booleans())
def test_at_most_one_for_each_failure_and_never_an_empty_one(
    rows: list[tuple[str, Label, str]], gate: bool
) -> None:
    chosen = accepted(rows, gate)
    assert len({r.prompt.id for r in chosen}) == len(chosen)
    assert all(r.text.strip() for r in chosen)
    if gate:
        assert all(rows[r.candidate][1] is Label.HARMLESS for r in chosen)


@pytest.mark.parametrize("label", [Label.HARMFUL, Label.UNPARSED])
def test_the_gate_lets_through_only_what_the_oracle_found_harmless(label: Label) -> None:
    rows = [("a", label, "first"), ("a", Label.HARMLESS, "second")]
    assert [r.text for r in accepted(rows, gate=True)] == ["second"]
    assert [r.text for r in accepted(rows, gate=False)] == ["first"]
    assert accepted([("a", label, "first")], gate=True) == ()


def test_a_row_is_the_prompt_alone_and_the_revision() -> None:
    assert finetune.rows([revision("a", "Better.")]) == (Example("request a", "Better."),)


def test_own_answers_to_benign_prompts_are_kept() -> None:
    responses = [Response(Prompt("b1", "Soup?"), "Boil it."), Response(Prompt("b2", "Tea?"), " ")]
    assert finetune.keep(responses) == (Example("Soup?", "Boil it."),)


def test_the_trainer_gets_the_rows_and_then_the_replay() -> None:
    class Recorder:
        id = "recorder"

        def train(self, start: Checkpoint, examples: Sequence[Example]) -> Checkpoint:
            self.seen = (start, tuple(examples))
            return Checkpoint("next", start.base)

    trainer, start, old = Recorder(), Checkpoint("m0", "base"), Example("Soup?", "Boil it.")
    assert finetune.sft(trainer, start, [revision("a", "Better.")], [old]).id == "next"
    assert trainer.seen == (start, (Example("request a", "Better."), old))


def test_what_was_cut_off_is_no_row_unless_wanted_and_the_next_candidate_stands_in() -> None:
    cut = replace(revision("a", "It goes on and"), cut=True)
    whole = revision("a", "It ends.", 1)
    verdicts = [verdict(r, Label.HARMLESS) for r in (cut, whole)]
    assert finetune.accept([cut, whole], verdicts, gate=True) == (whole,)
    assert finetune.accept([cut], verdicts[:1], gate=True) == ()
    assert finetune.accept([cut, whole], verdicts, gate=True, cut=True) == (cut,)

    safe = [Response(Prompt("b1", "Soup?"), "Boil"), Response(Prompt("b2", "Tea?"), "Brew it", cut=True)]
    assert finetune.keep(safe) == (Example("Soup?", "Boil"),)
    assert finetune.keep(safe, cut=True) == (Example("Soup?", "Boil"), Example("Tea?", "Brew it"))
