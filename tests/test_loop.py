"""The loop: what is carried from one iteration to the next, with actors that are functions."""

import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from iteralign import Checkpoint, Conversation, Iteration, Lab, Material, Method, Prompt, Sampling, iteralign
from iteralign.models.scripted import ScriptedModel
from iteralign.prompts import load
from iteralign.protocols import Step
from iteralign.settings import Finetuning, Guard, Proposing, Revising
from iteralign.types import Example, History, Probe

BASE = Checkpoint("m0", "m0")
IMPROVED = Method(prompts=load("improved"), measure=load("measure"))
PAPER = Method(
    prompts=load("paper"),
    measure=load("measure"),
    propose=Proposing(grouping="none", examples=0, accumulate=False),
    trial=None,
    revise=Revising(show="all", candidates=1),
    gate=False,
    finetune=Finetuning(replay=False),
    guard=None,
)


class Unrecorded:
    """A journal that remembers nothing; `steps` holds (t, name) in the order of running."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, str]] = []

    def at(self, t: int) -> Step:
        def do(name: str, stage: Any, /, *args: Any, **kwargs: Any) -> Any:
            self.steps.append((t, name))
            return stage(*args, **kwargs)

        return do


@dataclass
class World:
    """A policy that answers badly until it has a principle before it; `spoils` names checkpoints that refuse all."""

    spoils: frozenset[str] = frozenset()
    trained: list[tuple[str, tuple[Example, ...]]] = field(default_factory=list)
    id: str = "trainer"

    @contextmanager
    def serve(self, checkpoint: Checkpoint) -> Iterator[ScriptedModel]:
        def answer(conversation: Conversation, _: Sampling) -> str:
            if checkpoint.id in self.spoils:
                return "REFUSED"
            asked = conversation[0].content
            if "soup" in asked:
                return "Boil it."
            return "GOOD" if len(conversation) > 1 or "Rule" in asked else "BAD"

        yield ScriptedModel(checkpoint.id, answer)

    def train(self, start: Checkpoint, examples: Sequence[Example]) -> Checkpoint:
        self.trained.append((start.id, tuple(examples)))
        return Checkpoint(f"m{len(self.trained)}", start.base)

    def lab(self) -> Lab:
        oracle = ScriptedModel("oracle", judge)
        return Lab(self.serve, oracle, ScriptedModel("proposer", propose), self, meter=oracle)


def judge(conversation: Conversation, _: Sampling) -> str:
    asked = conversation[-1].content
    if "Grade the response" in asked:
        return json.dumps({"grade": "refused" if "REFUSED" in asked else "answered"})
    if len(conversation) > 2:  # the paper's few-shot judge
        return "Evaluation: Negative." if "BAD" in asked else "Evaluation: Positive."
    return json.dumps({"label": "harmful" if "BAD" in asked else "harmless", "category": "harm"})


def propose(conversation: Conversation, _: Sampling) -> str:
    words = sorted({w for w in conversation[-1].content.split() if w.startswith("thing-")})
    rules = [f"Rule about {w.strip('?')}." for w in words] or ["Rule."]
    return json.dumps({"principles": [{"category": "harm", "text": r} for r in rules]})


def material(batches: int = 3) -> Material:
    return Material(
        batches=tuple((Prompt(f"a{t}", f"What of thing-{t}?"),) for t in range(1, batches + 1)),
        probes=(
            Probe(Prompt("h", "What of it?"), "hazard"),
            Probe(Prompt("b", "How is soup made?"), "benign"),
        ),
        benign=(Prompt("soup", "How is soup cooked?"),),
    )


def never(_: History) -> str | None:
    return None


def turns(world: World, method: Method, journal: Unrecorded | None = None) -> list[Iteration]:
    return list(iteralign(BASE, material(), world.lab(), method, journal or Unrecorded(), never))


def test_the_steps_of_the_figure_in_their_order() -> None:
    journal = Unrecorded()
    turns(World(), IMPROVED, journal)
    assert journal.steps[:2] == [(0, "metrics"), (0, "benign")]
    assert [name for t, name in journal.steps if t == 1] == [
        "responses", "verdicts", "proposals", "trials", "constitution", "revisions", "gate", "checkpoint", "metrics",
    ]  # fmt: skip


def test_principles_and_replay_accumulate_and_training_starts_from_the_checkpoint_before() -> None:
    world = World()
    found = turns(world, IMPROVED)
    assert [len(i.amendment.constitution.principles) for i in found] == [1, 2, 3]
    assert [start for start, _ in world.trained] == ["m0", "m1", "m2"]
    soup, rows = (
        Example("How is soup cooked?", "Boil it."),
        [Example(f"What of thing-{t}?", "GOOD") for t in (1, 2, 3)],
    )
    assert [sorted(r.prompt for r in rows_) for _, rows_ in world.trained] == [
        sorted(r.prompt for r in (soup, *rows[:n])) for n in (1, 2, 3)
    ]
    assert all(r in (soup, *rows) for _, rows_ in world.trained for r in rows_)


def test_the_constitution_is_not_in_what_is_trained_on() -> None:
    world = World()
    turns(world, IMPROVED)
    turns(world, PAPER)
    assert not any("Rule" in row.prompt for _, rows in world.trained for row in rows)


def test_as_released_a_batch_stands_alone() -> None:
    world = World()
    found = turns(world, PAPER)
    assert [len(i.amendment.constitution.principles) for i in found] == [1, 1, 1]
    assert [start for start, _ in world.trained] == ["m0", "m1", "m2"]
    assert [rows for _, rows in world.trained] == [
        (Example(f"What of thing-{t}?", "GOOD"),) for t in (1, 2, 3)
    ]


def test_from_the_base_each_time() -> None:
    world = World()
    turns(world, replace(IMPROVED, finetune=Finetuning(start="base", replay=True)))
    assert [start for start, _ in world.trained] == ["m0", "m0", "m0"]
    assert [len(rows) for _, rows in world.trained] == [2, 3, 4]


def test_a_worse_checkpoint_is_rolled_back_with_its_rows() -> None:
    world = World(spoils=frozenset({"m2"}))
    found = turns(world, replace(IMPROVED, guard=Guard(benign=0.05)))
    assert [i.rolled_back for i in found] == ["", "benign worse by 1.000", ""]
    assert [(i.trained.id, i.policy.id) for i in found] == [("m1", "m1"), ("m2", "m1"), ("m3", "m3")]
    assert [start for start, _ in world.trained] == ["m0", "m1", "m1"]
    assert "What of thing-2?" not in [r.prompt for r in world.trained[2][1]]


def test_withholding_the_principles_leaves_nothing_to_train_on() -> None:
    world = World()
    method = replace(PAPER, revise=Revising(constitution="none", show="all", candidates=1), gate=True)
    found = turns(world, method)
    assert world.trained == []
    assert [i.policy for i in found] == [BASE] * 3


@pytest.mark.parametrize(("said", "reason"), [("enough", "enough"), (None, "prompts used up")])
def test_the_loop_says_why_it_ended(said: str | None, reason: str) -> None:
    ends: list[str] = []

    def listen() -> Generator[Iteration, None, None]:
        lab = World().lab()
        ends.append((yield from iteralign(BASE, material(1), lab, IMPROVED, Unrecorded(), lambda _: said)))

    assert len(list(listen())) == (said is None)
    assert ends == [reason]


@dataclass
class Learner(World):
    """As World, but what is trained on is answered well from then on, save what a checkpoint `forgets`."""

    forgets: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def serve(self, checkpoint: Checkpoint) -> Iterator[ScriptedModel]:
        with super().serve(checkpoint) as untrained:
            rows = dict(zip((f"m{i}" for i in range(1, 9)), (rows for _, rows in self.trained), strict=False))
            known = {r.prompt for r in rows.get(checkpoint.id, ())} - {self.forgets.get(checkpoint.id)}

            def answer(conversation: Conversation, sampling: Sampling) -> str:
                asked = conversation[0].content
                return "GOOD" if asked in known else untrained.generate([conversation], sampling)[0].text

            yield ScriptedModel(checkpoint.id, answer)


def asked_again(found: Sequence[Iteration]) -> list[list[tuple[str, str, str]]]:
    kinds = ("corrected", "closed")
    return [[(r.id, r.kind, r.outcome) for r in i.metrics.results if r.kind in kinds] for i in found]


def test_every_closed_failure_is_asked_again() -> None:
    found = turns(Learner(), replace(IMPROVED, guard=Guard(reopened=0.4)))
    assert asked_again(found) == [
        [("a1", "corrected", "harmless")],
        [("a1", "closed", "harmless"), ("a2", "corrected", "harmless")],
        [("a1", "closed", "harmless"), ("a2", "closed", "harmless"), ("a3", "corrected", "harmless")],
    ]
    assert [(i.metrics.reopened.hits, i.metrics.reopened.n) for i in found] == [(0, 0), (0, 1), (0, 2)]
    assert {i.metrics.violations.n for i in found} == {1}  # the regression set is in no other figure


def test_a_failure_that_is_open_again_rolls_the_checkpoint_back_and_stays_in_the_set() -> None:
    found = turns(Learner(forgets={"m2": "What of thing-1?"}), replace(IMPROVED, guard=Guard(reopened=0.5)))
    assert [i.rolled_back for i in found] == ["", "reopened worse by 1.000", ""]
    assert asked_again(found)[1:] == [
        [("a1", "closed", "harmful"), ("a2", "corrected", "harmless")],
        [("a1", "closed", "harmless"), ("a3", "corrected", "harmless")],
    ]


def test_what_was_never_closed_is_not_in_the_set() -> None:
    found = turns(World(), replace(IMPROVED, guard=Guard(reopened=0.0)))
    assert asked_again(found) == [[(f"a{t}", "corrected", "harmful")] for t in (1, 2, 3)]
    assert [i.rolled_back for i in found] == [""] * 3


def test_nothing_is_asked_again_unless_the_guard_looks_at_it() -> None:
    for guard in (Guard(), None):
        assert asked_again(turns(Learner(), replace(IMPROVED, guard=guard))) == [[]] * 3
