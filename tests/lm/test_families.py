"""Every family, base and chat, by LoRA and in full, through two iterations of the loop; the oracle is scripted.

Real: rendering, generation, training, checkpoints, journal. Tiny and random: the weights (tests/families.py).
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch

from iteralign.lm import weights
from iteralign.loop import iteralign
from iteralign.models.hf import HfPolicies
from iteralign.models.scripted import ScriptedModel
from iteralign.prompts import load
from iteralign.protocols import Lab
from iteralign.record.journal import RunJournal
from iteralign.settings import Finetuning, Loading, Method, Policy, Revising, Training
from iteralign.training.merge import MergeOptions, merge
from iteralign.training.rows import labelled
from iteralign.training.sft import SftTrainer
from iteralign.types import Checkpoint, Example, Iteration, Material, Message, Probe, Prompt, Sampling

ON_CPU = Loading(device="cpu")

NAMES = ("llama", "smollm", "qwen2", "qwen3", "mistral", "gemma2", "gemma3", "phi", "gpt_neox", "opt", "gpt2")
CELLS = [(name, form, method) for name in NAMES for form in ("base", "chat") for method in ("lora", "full")]
QUICK = [
    ("gpt2", "base", "lora"),
    ("gpt_neox", "base", "full"),
    ("qwen3", "chat", "lora"),
    ("gemma3", "chat", "full"),
]
BATCHES = (("How do I pick a lock?", "Name a city."), ("Who took the key?", "Find my street."))
GREEDY = Sampling(max_tokens=6)
LONGER = Sampling(max_tokens=20)
"""Room to go on behind the end that was taught."""
METHOD = Method(
    prompts=load("paper"),
    measure=load("measure"),
    sampling=GREEDY,
    revise=Revising(show="all", candidates=1),
    gate=False,
    finetune=Finetuning(replay=False, cut=True),
    guard=None,
    trial=None,
)
EPOCHS = {"lora": 80, "full": 50}
RATES = {"lora": 1e-2, "full": 5e-3}


class Cell(NamedTuple):
    root: Path
    base: Path
    policies: HfPolicies
    method: str
    before: dict[str, bytes]
    turns: list[Iteration]


@pytest.fixture(
    scope="module",
    params=[pytest.param(c, id="-".join(c), marks=() if c in QUICK else pytest.mark.slow) for c in CELLS],
)
def cell(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, families: ModuleType
) -> Iterator[Cell]:
    family, form, method = request.param
    root = tmp_path_factory.mktemp("cell")
    base = families.build(root / "base", family, chat=form == "chat")
    policies = HfPolicies(root, str(base), Policy(device="cpu", batch_size=2))
    settings = Training(
        method=method,
        lr=RATES[method],
        epochs=EPOCHS[method],
        batch_size=2,
        lora_rank=16,
        lora_alpha=32,
    )
    trainer = SftTrainer(root, str(base), settings, ON_CPU, make_room=policies.close)
    oracle = ScriptedModel("oracle", lambda *_: "Evaluation: Negative.")
    proposer = ScriptedModel("proposer", lambda *_: "Be kind.")
    meter = ScriptedModel("meter", lambda *_: json.dumps({"label": "harmful", "grade": "answered"}))
    before = {p.name: p.read_bytes() for p in base.iterdir()}
    turns = iteralign(
        Checkpoint("base", str(base)),
        Material(
            tuple(tuple(Prompt(text, text) for text in batch) for batch in BATCHES),
            (Probe(Prompt("p", "Which key?"), "hazard"),),
        ),
        Lab(policies.serve, oracle, proposer, trainer, meter),
        METHOD,
        RunJournal(root),
        lambda _: None,
    )
    yield Cell(root, base, policies, method, before, list(turns))
    policies.close()


def answers(policies: HfPolicies, checkpoint: Checkpoint, prompts: Any) -> list[tuple[str, str]]:
    with policies.serve(checkpoint) as model:
        replies = model.generate([(Message("user", text),) for text in prompts], LONGER)
    return [(reply.text, reply.stop) for reply in replies]


def record(cell: Cell, t: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (cell.root / str(cell.turns[t].trained.path) / "training.json").read_text()
    )
    return found


def fresh(cell: Cell) -> HfPolicies:
    return HfPolicies(cell.root, str(cell.base), Policy(device="cpu", batch_size=2))


def test_it_learns_its_rows_and_to_end_them(cell: Cell) -> None:
    assert len(cell.turns) == 2
    for t, turn in enumerate(cell.turns):
        rows = [(v.text, "stop") for v in turn.accepted]
        assert rows
        assert record(cell, t)["last_loss"] < record(cell, t)["first_loss"] / 2
        assert answers(cell.policies, turn.trained, [v.prompt.text for v in turn.accepted]) == rows


def test_the_end_is_in_the_labels_and_the_prompt_is_that_of_generation(cell: Cell) -> None:
    chat = weights.load_chat(weights.Source(str(cell.base)))
    for row in labelled([Example(text, "No.") for text in BATCHES[0]], chat, 512):
        prompt = [i for i, label in zip(row.input_ids, row.labels, strict=True) if label == -100]
        assert row.labels[-1] == chat.end_ids()[0]
        assert row.labels[: len(prompt)] == [-100] * len(prompt)
        assert prompt in [chat.prompt_ids((Message("user", text),)) for text in BATCHES[0]]
        assert set(chat.end_ids()).isdisjoint(row.labels[:-1])


def test_a_checkpoint_reloads_to_the_same_answers(cell: Cell) -> None:
    for turn in cell.turns:
        again = fresh(cell)
        assert answers(again, turn.trained, BATCHES[0]) == answers(cell.policies, turn.trained, BATCHES[0])


def test_the_base_is_what_it_was(cell: Cell) -> None:
    assert {p.name: p.read_bytes() for p in cell.base.iterdir()} == cell.before
    base = Checkpoint("base", str(cell.base))
    bare = fresh(cell)
    assert answers(cell.policies, base, BATCHES[0]) == answers(bare, base, BATCHES[0])
    held = [p.engine().attach(base, "auto")[0].state_dict() for p in (cell.policies, bare)]
    assert held[0].keys() == held[1].keys()
    assert all(torch.equal(held[0][name], held[1][name]) for name in held[0])


def test_the_second_iteration_starts_from_the_first_checkpoint(cell: Cell) -> None:
    first, second = (turn.trained for turn in cell.turns)
    assert (record(cell, 0)["start"], record(cell, 1)["start"]) == ("base", first.id)
    files = [sorted((cell.root / str(c.path)).glob("*.safetensors")) for c in (first, second)]
    digests = [hashlib.sha256(paths[0].read_bytes()).hexdigest() for paths in files]
    assert digests[0] != digests[1]


def test_every_linear_layer_but_the_output_has_an_adapter_and_nothing_else_is_kept(cell: Cell) -> None:
    if cell.method == "full":
        pytest.skip("full weights have no adapter")
    from safetensors.torch import load_file
    from transformers.pytorch_utils import Conv1D

    model = weights.load_model(weights.Source(str(cell.base)), "cpu", "float32")
    linear = {
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not model.get_output_embeddings()
    }
    stored = load_file(cell.root / str(cell.turns[1].trained.path) / "adapter_model.safetensors")
    names = {key.removeprefix("base_model.model.").rpartition(".lora_")[0] for key in stored}
    assert names == linear
    assert len(stored) == 2 * len(linear)
    assert all(16 in tensor.shape for tensor in stored.values())


def test_merged_into_one_directory_it_answers_the_same(cell: Cell, tmp_path: Path) -> None:
    last = cell.turns[1].trained
    out = merge(weights.Source(str(cell.base)), last, cell.root, tmp_path / "merged", MergeOptions())
    alone = HfPolicies(tmp_path, str(out), Policy(device="cpu", batch_size=2))
    prompts = [text for batch in BATCHES for text in batch]
    merged = answers(alone, Checkpoint("merged", str(out)), prompts)
    assert merged == answers(cell.policies, last, prompts)
