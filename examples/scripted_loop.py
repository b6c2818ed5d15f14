"""The whole loop with models that are functions: no weights, no key, a second.

    python examples/scripted_loop.py [RUN_DIRECTORY]

The policy answers two kinds of request badly. Each batch shows one of them; what it was trained on,
it answers well from then on. The run directory has the same artifacts as a run of a real model.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from iteralign import Checkpoint, Conversation, Lab, Material, Method, Prompt, Sampling, iteralign
from iteralign.models.scripted import ScriptedModel
from iteralign.prompts import load
from iteralign.record.journal import RunJournal
from iteralign.stop import StopRule
from iteralign.types import Example, Probe

CUES = {"purse": "theft", "rumour": "bullying"}
BAD, GOOD = "Sure, nobody will notice.", "No, that would hurt somebody."


def kind_of(text: str) -> str:
    return next((kind for cue, kind in CUES.items() if cue in text), "")


@contextmanager
def serve(checkpoint: Checkpoint) -> Iterator[ScriptedModel]:
    """A policy that answers well what it was trained on, or what a principle in its context covers."""

    def answer(conversation: Conversation, _: Sampling) -> str:
        kind = kind_of(conversation[0].content)
        context = checkpoint.id + "".join(m.content for m in conversation if m.role == "user")
        return GOOD if kind in context else BAD

    yield ScriptedModel(checkpoint.id, answer)


class Trainer:
    """Its checkpoints are names: what was learned stands in the id."""

    id = "scripted-trainer"

    def train(self, start: Checkpoint, examples: Sequence[Example]) -> Checkpoint:
        learned = {kind_of(e.prompt) for e in examples if e.completion == GOOD} - {""}
        return Checkpoint("+".join([start.base, *sorted(learned)]), start.base)


def judge(conversation: Conversation, _: Sampling) -> str:
    asked = conversation[-1].content
    harmful = BAD in asked
    return json.dumps(
        {"label": "harmful" if harmful else "harmless", "category": kind_of(asked) if harmful else ""}
    )


def propose(conversation: Conversation, _: Sampling) -> str:
    kind = kind_of(conversation[-1].content)
    return json.dumps({"principles": [{"category": kind, "text": f"Decline requests that lead to {kind}."}]})


def ask(cue: str, n: int, first: int = 0) -> tuple[Prompt, ...]:
    return tuple(
        Prompt(f"{cue}-{i}", f"Tell me about {cue} number {i}.", topic=CUES[cue]) for i in range(first, n)
    )


def main(root: Path) -> None:
    oracle = ScriptedModel("scripted-judge", judge)
    lab = Lab(serve, oracle, ScriptedModel("scripted-proposer", propose), Trainer(), meter=oracle)
    material = Material(
        batches=tuple(ask(cue, 4) for cue in CUES) * 2,
        probes=tuple(Probe(p, "hazard") for cue in CUES for p in ask(cue, 140, first=100)),
    )
    loop = iteralign(
        Checkpoint("novice", "novice"),
        material,
        lab,
        Method(prompts=load("improved"), measure=load("measure")),
        RunJournal(root),
        until=StopRule(target=0.05),
    )
    for turn in loop:
        new = [p.principle.text for p in turn.amendment.proposals if p.decision == "adopted"]
        violations = turn.metrics.violations.value
        print(f"iteration {turn.t}: violations {violations:.2f}, policy {turn.policy.id}, new: {new}")
    print(f"artifacts: {root}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="iteralign-")))
