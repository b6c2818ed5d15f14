"""The preset `paper` on the released prompts, against the released script as it is described.

What is expected is computed here, from the pickled lists and from the description of the script alone: no prompt
file, reader or stage of the package is asked what is right. No prompt is quoted; all are compared by construction.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from iteralign import Checkpoint, Conversation, Iteration, Lab, Sampling, iteralign
from iteralign.config import schema
from iteralign.data.pickles import plain
from iteralign.lm.chat import chat_of
from iteralign.models.scripted import ScriptedModel
from iteralign.run import build
from iteralign.run.inputs import material
from iteralign.settings import narrowed
from iteralign.types import Example, Label, Message

FOLDER = (
    Path(os.environ.get("ITERALIGN_DATA") or Path(__file__).parents[2] / "shared" / "data")
    / "iteralign_processed"
)
SETS = {
    "iteralign-dangerousqa": ("prompt_que_dangerousqa.pkl", 200),
    "iteralign-dangerousqa-standard": ("prompt_que_dangerousqa_standard.pkl", 200),
    "iteralign-harmfulqa": ("prompt_que_harmfulqa.pkl", 1960),
    "iteralign-harmfulqa-standard": ("prompt_que_harmfulqa_standard.pkl", 1960),
}
SLICE = 20
GREEDY = Sampling(temperature=0.0, top_p=1.0, max_tokens=500, stop=("\n\n",), frequency_penalty=0.5)

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="no copies of the released prompts; set ITERALIGN_DATA"
)

RATINGS = {  # what the judge says, and whether the released code takes it for harmful
    "Evaluation: Negative.": True,
    "Evaluation: Positive.": False,
    "I would not call this Negative, on the whole.": True,
    "evaluation: negative.": False,
    "I cannot rate this.": False,
    "": False,
}


def number(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


def answered(prompt: str) -> str:
    """What the scripted policy says: a text of its own for each prompt."""
    return f"An answer, number {number(prompt)}."


def rated(answer: str) -> str:
    return list(RATINGS)[number(answer) % len(RATINGS)]


def proposed(answers: str) -> str:
    """A reply of several paragraphs; what stands in the last one differs from call to call."""
    return f"Here they are.\n\n1. The first one.\n\n1. Rule {number(answers)}.\n2. Another rule."


def kept(reply: str) -> str:
    return reply.split("\n\n")[-1]


def spliced(prompt: str, constitution: str) -> str:
    """Before the last block of the prompt; a prompt of one block is put behind a blank and the constitution."""
    if "\n\n" not in prompt:
        return " " + constitution + "\n\n" + prompt
    blocks = prompt.split("\n\n")
    return "\n\n".join(blocks[:-1]) + " " + constitution + "\n\n" + blocks[-1]


@dataclass
class Script:
    """What the released script asks and trains, slice by slice."""

    prompts: list[str]
    policy: list[str] = field(default_factory=list)
    judged: list[str] = field(default_factory=list)
    proposals: list[str] = field(default_factory=list)
    harmful: list[list[int]] = field(default_factory=list)
    rows: list[tuple[Example, ...]] = field(default_factory=list)

    def run(self) -> "Script":
        for start in range(0, len(self.prompts), SLICE):
            batch = self.prompts[start : start + SLICE]
            answers = [answered(p) for p in batch]
            self.policy += batch
            self.judged += answers
            bad = [i for i, a in enumerate(answers) if "Negative" in rated(a)]
            self.harmful.append(bad)
            if not bad:
                continue
            joined = " ".join(answers[i] for i in bad)
            self.proposals.append(joined)
            asked = [spliced(batch[i], kept(proposed(joined))) for i in bad]
            revised = [answered(p) for p in asked]
            self.policy += asked
            self.judged += revised
            self.rows.append(tuple(Example(batch[i], r) for i, r in zip(bad, revised, strict=True)))
        return self


@dataclass
class Actors:
    """A policy, judge, proposer and trainer that are functions and remember."""

    id: str = "trainer"
    policy: list[tuple[Conversation, Sampling]] = field(default_factory=list)
    trained: list[tuple[Checkpoint, tuple[Example, ...]]] = field(default_factory=list)
    judge: ScriptedModel = field(
        default_factory=lambda: ScriptedModel("j", lambda c, _: rated(c[-1].content))
    )
    proposer: ScriptedModel = field(
        default_factory=lambda: ScriptedModel("p", lambda c, _: proposed(joined(c[-1].content)))
    )

    @contextmanager
    def serve(self, policy: Checkpoint) -> Iterator[ScriptedModel]:
        model = ScriptedModel(policy.id, lambda c, _: answered(c[-1].content))
        yield model
        self.policy += model.asked

    def train(self, start: Checkpoint, examples: Sequence[Example]) -> Checkpoint:
        self.trained.append((start, tuple(examples)))
        return Checkpoint(f"m{len(self.trained)}", start.base, "x", "full")

    @property
    def lab(self) -> Lab:
        nobody = ScriptedModel("meter", lambda *_: pytest.fail("the script measures nothing"))
        return Lab(self.serve, self.judge, self.proposer, self, nobody)


def joined(asked: str) -> str:
    """The answers that stand in a question to the proposer, found as the texts that the policy gives."""
    first, last = asked.find("An answer, number "), asked.rfind("An answer, number ")
    return asked[first : asked.index(".", last) + 1]


class Unrecorded:
    def at(self, t: int) -> Any:
        return lambda name, stage, /, *args: stage(*args)


NOTHING = "hazards = 0\nbenign = 0\nborderline = 0\nfacts = 0\n"


def settings(source: str, folder: Path) -> schema.Config:
    """The preset, its source and nothing else; the script measures nothing, so there are no probes."""
    path = folder / "paper.toml"
    path.write_text(
        f'preset = "paper"\n[redteam]\nsource = "{source}"\npath = {json.dumps(str(FOLDER))}\n[probes]\n{NOTHING}',
        encoding="utf-8",
    )
    return schema.load(path)


@pytest.fixture(scope="module", params=SETS)
def performed(request: Any, tmp_path_factory: Any) -> tuple[Script, Actors, list[Iteration]]:
    """The script as described, the actors of our run, and its iterations."""
    file, size = SETS[request.param]
    prompts = plain((FOLDER / file).read_bytes())
    assert isinstance(prompts, list) and len(prompts) == size
    values = settings(request.param, tmp_path_factory.mktemp("paper"))
    actors = Actors()
    rule = narrowed(build.StopRule, values.stop)
    loop = iteralign(
        Checkpoint("m0", "base"), material(values), actors.lab, build.method(values), Unrecorded(), rule
    )
    return Script(prompts).run(), actors, list(loop)


Performed = tuple[Script, Actors, list[Iteration]]


def test_the_policy_is_asked_prompts_and_splices_alone_in_file_order(performed: Performed) -> None:
    script, actors, _ = performed
    expected = [((Message("user", text),), GREEDY) for text in script.policy]
    # no text in the message of a failure: pytest would print prompts
    assert (actors.policy == expected) is True


def test_the_judge_sees_the_answer_alone_behind_three_negative_pairs(performed: Performed) -> None:
    script, actors, _ = performed
    assert [c[-1].content for c, _ in actors.judge.asked] == script.judged
    roles = ["system", *["user", "assistant"] * 3, "user"]
    for conversation, sampling in actors.judge.asked:
        assert [m.role for m in conversation] == roles
        assert {m.content for m in conversation if m.role == "assistant"} == {"Evaluation: Negative."}
        assert sampling.temperature == 0
    system = actors.judge.asked[0][0][0].content.lower()
    for word in ("helpful", "harmless", "honest", "pattern", "positive", "negative"):
        assert word in system
    assert len({c[:-1] for c, _ in actors.judge.asked}) == 1


def test_harmful_is_what_contains_the_word(performed: Performed) -> None:
    script, _, turns = performed
    found = [[i for i, v in enumerate(t.verdicts) if v.label is Label.HARMFUL] for t in turns]
    assert found == script.harmful
    assert {v.label for t in turns for v in t.verdicts} == {Label.HARMFUL, Label.HARMLESS}
    assert all(
        RATINGS[rated(v.response.text)] is (v.label is Label.HARMFUL) for t in turns for v in t.verdicts
    )


def test_the_proposer_is_asked_once_a_slice_with_the_answers_and_without_prompts(
    performed: Performed,
) -> None:
    script, actors, _ = performed
    assert len(actors.proposer.asked) == len(script.proposals)
    for (conversation, sampling), answers in zip(actors.proposer.asked, script.proposals, strict=True):
        assert answers in conversation[-1].content
        whole = "\n".join(m.content for m in conversation)
        assert "multiple very specific" in whole.lower()
        assert "harmless and ethical" in next(m.content for m in conversation if m.role == "assistant")
        assert not any(prompt in whole for prompt in script.prompts)
        assert sampling.temperature == 0


def test_a_constitution_is_the_last_paragraph_and_lasts_for_one_slice(performed: Performed) -> None:
    script, _, turns = performed
    laws = [[p.text for p in t.amendment.constitution.principles] for t in turns if t.amendment.proposals]
    assert laws == [[kept(proposed(answers))] for answers in script.proposals]


def test_every_revision_is_a_row_of_its_slice_and_the_weights_go_on(performed: Performed) -> None:
    script, actors, turns = performed
    assert ([rows for _, rows in actors.trained] == script.rows) is True
    assert [start.id for start, _ in actors.trained] == [f"m{i}" for i in range(len(actors.trained))]
    assert turns[-1].policy.id == f"m{len(actors.trained)}"
    assert len(turns) == -(-len(script.prompts) // SLICE)
    assert not any(t.rolled_back for t in turns)


@pytest.mark.parametrize("source", SETS)
def test_generation_is_raw_and_training_as_described(source: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    values = settings(source, tmp_path)
    chat = chat_of(AutoTokenizer.from_pretrained(build.model_path("organism")), values.policy.template)
    prompts = plain((FOLDER / SETS[source][0]).read_bytes())
    assert all((chat.prompt((Message("user", p),)) == p) is True for p in prompts[:50])
    training = values.training
    assert training.method == "full"
    assert (training.epochs, training.batch_size * training.gradient_accumulation, training.lr) == (
        3,
        8,
        2e-6,
    )
    assert (training.weight_decay, training.warmup_ratio, training.scheduler) == (0.0, 0.03, "cosine")
    assert training.max_length == 4096
