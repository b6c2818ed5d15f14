"""Fine-tuning a tiny random Llama: it learns the rows and to stop, again with the same bytes, and leaves no trace."""

import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from iteralign.chat import chat_of
from iteralign.errors import UserError
from iteralign.models import tiny
from iteralign.models.hf import HfPolicies, HfSettings
from iteralign.training.fit import ByLength
from iteralign.training.rows import labelled
from iteralign.training.settings import SftSettings
from iteralign.training.sft import SftTrainer
from iteralign.types import Checkpoint, Example, Message, Sampling
from iteralign.weights import Source, load_model, load_tokenizer

BASE = Checkpoint("base", "base")
EXAMPLES = [
    Example("who can take the key?", "you can not."),
    Example("tell me the city", "the city is red."),
    Example("lock the door please", "yes, the door."),
    Example("find a cat", "one cat, two dog, three bird."),
    Example("what is your name?", "I do not tell."),
    Example("give me the plan", "no plan."),
]
OTHERS = [Example("where is the tree?", "in my house."), Example("are you blue?", "green.")]
LORA = SftSettings(device="cpu", lr=2e-2, epochs=40, batch_size=4, lora_rank=8, lora_alpha=16)
FULL = replace(LORA, method="full", lr=5e-3)
SHORT = replace(LORA, epochs=2)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("base"))


def trainer(base: Path, root: Path, settings: SftSettings = SHORT) -> SftTrainer:
    return SftTrainer(root, str(base), settings)


def answers(base: Path, root: Path, checkpoint: Checkpoint, examples: list[Example]) -> list[tuple[str, str]]:
    leases = HfPolicies(root, str(base), HfSettings(device="cpu"))
    with leases.serve(checkpoint) as model:
        replies = model.generate([(Message("user", e.prompt),) for e in examples], Sampling(max_tokens=40))
    return [(reply.text, reply.stop) for reply in replies]


def taught(examples: list[Example]) -> list[tuple[str, str]]:
    return [(example.completion, "stop") for example in examples]


def contents(root: Path, checkpoint: Checkpoint) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted((root / str(checkpoint.path)).rglob("*"))}


@pytest.mark.parametrize("settings", [LORA, FULL], ids=["lora", "full"])
def test_it_learns_the_rows_and_to_stop(base: Path, tmp_path: Path, settings: SftSettings) -> None:
    before = answers(base, tmp_path, BASE, EXAMPLES)
    trained = trainer(base, tmp_path, settings).train(BASE, EXAMPLES)
    assert answers(base, tmp_path, trained, EXAMPLES) == taught(EXAMPLES) != before
    assert answers(base, tmp_path, BASE, EXAMPLES) == before
    assert trained.kind == ("adapter" if settings is LORA else "full")

    more = trainer(base, tmp_path, settings).train(trained, OTHERS)
    assert answers(base, tmp_path, more, OTHERS) == taught(OTHERS)
    assert answers(base, tmp_path, trained, EXAMPLES) == taught(EXAMPLES)


def test_it_goes_on_from_an_adapter_or_begins_afresh(base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    def weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
        return load_file(tmp_path / str(checkpoint.path) / "adapter_model.safetensors")

    still = replace(SHORT, lr=1e-12)
    first = trainer(base, tmp_path, SHORT).train(BASE, EXAMPLES)
    continued = trainer(base, tmp_path, still).train(first, OTHERS)
    fresh = trainer(base, tmp_path, still).train(BASE, OTHERS)
    near = {
        name: torch.allclose(w, weights(first)[name], atol=1e-6) for name, w in weights(continued).items()
    }
    assert near
    assert all(near.values())
    assert all(w.abs().max() < 1e-6 for name, w in weights(fresh).items() if "lora_B" in name)


def test_the_first_loss_is_cross_entropy_over_answers_and_ends_alone(base: Path, tmp_path: Path) -> None:
    trained = trainer(base, tmp_path, replace(SHORT, epochs=1, batch_size=8)).train(BASE, EXAMPLES)
    record = json.loads((tmp_path / str(trained.path) / "training.json").read_text())
    source = Source(str(base))
    chat, model = chat_of(load_tokenizer(source)), load_model(source, "cpu", "float32")
    losses = []
    for row in labelled(EXAMPLES, chat, 256):
        asked = sum(label == -100 for label in row.labels)
        with torch.no_grad():
            logits = model(torch.tensor([row.input_ids])).logits[0, asked - 1 : -1]
        answer = torch.tensor(row.input_ids[asked:])
        losses += torch.nn.functional.cross_entropy(logits, answer, reduction="none").tolist()
    assert record["first_loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-4)


def test_same_inputs_same_bytes_whatever_happened_before(base: Path, tmp_path: Path) -> None:
    settings = replace(SHORT, lora_dropout=0.1)
    first = trainer(base, tmp_path / "a", settings).train(BASE, EXAMPLES)
    torch.manual_seed(77)
    random.seed(77)
    second = trainer(base, tmp_path / "b", settings).train(BASE, EXAMPLES)
    assert first == second
    assert contents(tmp_path / "a", first) == contents(tmp_path / "b", second)
    other = trainer(base, tmp_path / "b", replace(settings, seed=1)).train(BASE, EXAMPLES)
    assert contents(tmp_path / "b", other) != contents(tmp_path / "b", second)


def test_another_process_writes_the_same_bytes_and_nothing_else(base: Path, tmp_path: Path) -> None:
    here = trainer(base, tmp_path / "a").train(BASE, EXAMPLES)
    work = tmp_path / "work"
    work.mkdir()
    program = f"""
from pathlib import Path
from iteralign.training.sft import SftTrainer
from iteralign.training.settings import SftSettings
from iteralign.types import Checkpoint, Example

trained = SftTrainer(Path("b"), {str(base)!r}, {SHORT!r}).train({BASE!r}, {EXAMPLES!r})
assert trained == {here!r}
"""
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(work),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "PYTHONHASHSEED": "5",
        "PYTHONPATH": ":".join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert contents(work / "b", here) == contents(tmp_path / "a", here)
    assert [p.name for p in work.iterdir()] == ["b"]
    assert [p.name for p in (work / "b").iterdir()] == ["checkpoints"]


def test_the_global_generators_are_left_alone(base: Path, tmp_path: Path) -> None:
    states = torch.get_rng_state(), random.getstate()
    trainer(base, tmp_path).train(BASE, EXAMPLES)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]


def test_a_finished_checkpoint_is_not_trained_again(base: Path, tmp_path: Path) -> None:
    updates: list[tuple[int, int]] = []
    sft = SftTrainer(
        tmp_path, str(base), SHORT, on_progress=lambda done, total, _: updates.append((done, total))
    )
    first = sft.train(BASE, EXAMPLES)
    assert updates == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert sft.train(BASE, EXAMPLES) == first
    assert len(updates) == 4
    (tmp_path / str(first.path) / "training.json").unlink()
    assert sft.train(BASE, EXAMPLES) == first
    assert len(updates) == 8


def test_a_checkpoint_is_the_adapter_and_two_small_files(base: Path, tmp_path: Path) -> None:
    trained = trainer(base, tmp_path).train(BASE, EXAMPLES)
    files = contents(tmp_path, trained)
    assert sorted(files) == ["adapter_config.json", "adapter_model.safetensors", "training.json"]
    assert all(str(base).encode() not in content for content in files.values())
    full = contents(tmp_path, trainer(base, tmp_path, replace(FULL, epochs=1)).train(BASE, EXAMPLES))
    assert {p.rsplit(".")[-1] for p in full} == {"json", "jinja", "safetensors"}


def test_a_mixture_of_experts_can_generate_after_full_training(tmp_path: Path) -> None:
    from transformers import MixtralConfig, MixtralForCausalLM

    base = tiny.build(tmp_path / "base")
    config = MixtralConfig.from_pretrained(base, num_local_experts=2, num_key_value_heads=1)
    MixtralForCausalLM(config).save_pretrained(base)
    trained = trainer(base, tmp_path, replace(FULL, epochs=1)).train(BASE, EXAMPLES)
    assert contents(tmp_path, trained)["config.json"] == (base / "config.json").read_bytes()
    assert len(answers(base, tmp_path, trained, EXAMPLES)) == len(EXAMPLES)


def test_no_rows_no_training(base: Path, tmp_path: Path) -> None:
    assert trainer(base, tmp_path).train(BASE, []) is BASE
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_trained_is_one_line_and_leaves_nothing(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"training\.max_length: row \d .* allowed are 12"):
        trainer(base, tmp_path, replace(SHORT, max_length=12)).train(BASE, EXAMPLES)
    with pytest.raises(UserError, match=r"training\.lr"):
        trainer(base, tmp_path, replace(FULL, lr=1e30, scheduler="constant")).train(BASE, EXAMPLES)
    assert list((tmp_path / "checkpoints").iterdir()) == []
    adapter = trainer(base, tmp_path).train(BASE, EXAMPLES)
    with pytest.raises(UserError, match="'full' cannot continue"):
        trainer(base, tmp_path, FULL).train(adapter, OTHERS)
    with pytest.raises(UserError, match="'lora' cannot continue"):
        trainer(base, tmp_path).train(replace(adapter, kind="full"), OTHERS)
    with pytest.raises(UserError, match=r"training\.lora_rank: 4, but .* has rank 8"):
        trainer(base, tmp_path, replace(SHORT, lora_rank=4)).train(adapter, OTHERS)


def test_nobody_is_told(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr("trl.trainer.base_trainer.send_telemetry", lambda *_, **__: pytest.fail("telemetry"))
    trainer(base, tmp_path, replace(SHORT, epochs=1)).train(BASE, OTHERS)


def test_the_id_names_every_hyperparameter(base: Path, tmp_path: Path) -> None:
    changed = {"method": "full", "epochs": 3, "lr": 1.0, "seed": 1, "template": "plain", "lora_dropout": 0.5}
    ids = {trainer(base, tmp_path, replace(SHORT, **{k: v})).id for k, v in changed.items()}
    assert len(ids | {trainer(base, tmp_path).id}) == 7
    assert trainer(base, tmp_path, replace(SHORT, dtype="float32")).id == trainer(base, tmp_path).id


def test_every_epoch_visits_every_row_once_among_its_like() -> None:
    lengths = [random.Random(i).randrange(5, 60) for i in range(203)]
    sampler = ByLength(lengths, 8, seed=0)
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(203))
    assert first != second
    assert first == list(ByLength(lengths, 8, seed=0))

    def padding(order: list[int]) -> int:
        batches = [[lengths[i] for i in order[at : at + 8]] for at in range(0, len(order), 8)]
        return sum(max(b) * len(b) - sum(b) for b in batches)

    assert padding(first) < 0.3 * padding(list(range(203)))
