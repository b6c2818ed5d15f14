"""Fine-tuning a tiny random Llama: it learns the rows and to stop, again with the same bytes, and leaves no trace."""

import json
import logging
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from iteralign.errors import UserError, WorldError
from iteralign.lm.chat import chat_of
from iteralign.lm.weights import Source, load_model, load_tokenizer
from iteralign.models import tiny
from iteralign.models.hf import HfPolicies
from iteralign.settings import Loading, Policy, Training
from iteralign.training import quantized, sft
from iteralign.training.fit import ByLength, parts
from iteralign.training.rows import labelled
from iteralign.training.sft import SftTrainer
from iteralign.types import Checkpoint, Example, Message, Sampling

ON_CPU = Loading(device="cpu")

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
LORA = Training(lr=2e-2, epochs=40, batch_size=4, lora_rank=8, lora_alpha=16)
FULL = replace(LORA, method="full", lr=5e-3)
SHORT = replace(LORA, epochs=2)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("base"))


def trainer(
    base: Path, root: Path, settings: Training = SHORT, loading: Loading = ON_CPU, seed: int = 0
) -> SftTrainer:
    return SftTrainer(root, str(base), settings, loading, seed)


def answers(base: Path, root: Path, checkpoint: Checkpoint, examples: list[Example]) -> list[tuple[str, str]]:
    leases = HfPolicies(root, str(base), Policy(device="cpu"))
    with leases.serve(checkpoint) as model:
        replies = model.generate([(Message("user", e.prompt),) for e in examples], Sampling(max_tokens=40))
    return [(reply.text, reply.stop) for reply in replies]


def taught(examples: list[Example]) -> list[tuple[str, str]]:
    return [(example.completion, "stop") for example in examples]


def contents(root: Path, checkpoint: Checkpoint) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted((root / str(checkpoint.path)).rglob("*"))}


@pytest.mark.parametrize("settings", [LORA, FULL], ids=["lora", "full"])
def test_it_learns_the_rows_and_to_stop(base: Path, tmp_path: Path, settings: Training) -> None:
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
    other = trainer(base, tmp_path / "b", settings, seed=1).train(BASE, EXAMPLES)
    assert contents(tmp_path / "b", other) != contents(tmp_path / "b", second)


def test_another_process_writes_the_same_bytes_and_nothing_else(base: Path, tmp_path: Path) -> None:
    here = trainer(base, tmp_path / "a").train(BASE, EXAMPLES)
    work = tmp_path / "work"
    work.mkdir()
    program = f"""
from pathlib import Path
from iteralign.training.sft import SftTrainer
from iteralign.settings import Training
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
        tmp_path, str(base), SHORT, ON_CPU, on_progress=lambda done, total, _: updates.append((done, total))
    )
    first = sft.train(BASE, EXAMPLES)
    assert updates == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert sft.train(BASE, EXAMPLES) == first
    assert len(updates) == 4
    (tmp_path / str(first.path) / "training.json").unlink()
    assert sft.train(BASE, EXAMPLES) == first
    assert len(updates) == 8


def test_a_checkpoint_is_the_adapter_and_four_small_files(base: Path, tmp_path: Path) -> None:
    trained = trainer(base, tmp_path).train(BASE, EXAMPLES)
    files = contents(tmp_path, trained)
    assert sorted(files) == [
        "SHA256SUMS",
        "adapter_config.json",
        "adapter_model.safetensors",
        "training.json",
        "witness.json",
    ]
    assert all(str(base).encode() not in content for content in files.values())
    full = contents(tmp_path, trainer(base, tmp_path, replace(FULL, epochs=1)).train(BASE, EXAMPLES))
    assert {p.rsplit(".")[-1] for p in full} == {"SHA256SUMS", "json", "jinja", "safetensors"}


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
    with pytest.raises(UserError, match=r"training\.max_length: \d of 6 rows have more than 12 tokens"):
        trainer(base, tmp_path, replace(SHORT, max_length=12)).train(BASE, EXAMPLES)
    with pytest.raises(UserError, match=r"training\.lr"):
        trainer(base, tmp_path, replace(FULL, lr=10.0, epochs=200, scheduler="constant")).train(
            BASE, EXAMPLES
        )
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
    changed = {"method": "full", "epochs": 3, "lr": 1.0, "lora_dropout": 0.5}
    ids = {trainer(base, tmp_path, replace(SHORT, **{k: v})).id for k, v in changed.items()}
    ids |= {trainer(base, tmp_path, seed=1).id, trainer(base, tmp_path, loading=Loading(template="plain")).id}
    assert len(ids | {trainer(base, tmp_path).id}) == 7
    assert trainer(base, tmp_path, loading=replace(ON_CPU, dtype="float32")).id == trainer(base, tmp_path).id


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


MIXED = [*EXAMPLES, *OTHERS, Example("name the bird", "one two three " * 5), Example("who?", "I.")]
"""Ten rows of 8 to 30 tokens; the last update of an epoch has fewer rows than the others."""
UPDATES = {
    "lora": replace(LORA, epochs=2, lr=1e-3),
    "full": replace(LORA, epochs=2, lr=1e-3, method="full"),
    "lora over two steps": replace(LORA, epochs=2, lr=1e-3, gradient_accumulation=2),
    "full over three steps": replace(
        LORA, epochs=2, lr=1e-3, method="full", batch_size=2, gradient_accumulation=3
    ),
}


def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Rows and width of whatever goes through the model at once, as training goes on."""
    from trl import SFTTrainer

    step, shapes = SFTTrainer.training_step, list[tuple[int, int]]()

    def noting(self, model, inputs, *rest):
        shapes.append(tuple(inputs["input_ids"].shape))
        return step(self, model, inputs, *rest)

    monkeypatch.setattr(SFTTrainer, "training_step", noting)
    return shapes


def learnt(root: Path, checkpoint: Checkpoint) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    from safetensors.torch import load_file

    (file,) = (root / str(checkpoint.path)).glob("*.safetensors")
    return load_file(file), json.loads((root / str(checkpoint.path) / "training.json").read_text())


@pytest.mark.parametrize("takes_a_count", [True, False])
@pytest.mark.parametrize("name", UPDATES)
def test_an_update_in_parts_is_the_same_update(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, takes_a_count: bool
) -> None:
    """All rows of a step at once, a few, about one; and single rows by the Trainer's own accumulation.

    `takes_a_count`: whether the Trainer counts the tokens of a whole update; it does not for every architecture.
    """
    from transformers import LlamaForCausalLM

    monkeypatch.setattr(LlamaForCausalLM, "accepts_loss_kwargs", takes_a_count, raising=False)
    settings, shapes = UPDATES[name], seen(monkeypatch)
    update = settings.batch_size * settings.gradient_accumulation
    single = replace(settings, batch_size=1, gradient_accumulation=update)
    cases = {"all": (100_000, settings), "some": (60, settings), "few": (1, settings)}
    if takes_a_count:
        cases["one"] = (100_000, single)
    found, calls = {}, {}
    for case, (at_once, given_settings) in cases.items():
        shapes.clear()
        monkeypatch.setitem(sft.AT_ONCE, "cpu", at_once)
        made = trainer(base, tmp_path / case, given_settings).train(BASE, MIXED)
        weights, record = learnt(tmp_path / case, made)
        found[case] = weights, [record[key] for key in ("first_loss", "last_loss")]
        assert sum(rows for rows, _ in shapes) == settings.epochs * len(MIXED)
        assert all(rows == 1 or rows * width <= record["tokens_at_once"] for rows, width in shapes)
        calls[case] = len(shapes)
    assert calls["all"] <= calls["some"] < calls["few"]
    whole, losses = found["all"]
    for weights, others in found.values():
        assert others == pytest.approx(losses, abs=2e-5)
        apart = torch.cat([(whole[key] - weights[key]).abs().flatten() for key in whole])
        assert apart.mean() < 1e-8
        # AdamW divides a gradient by its own size, so one that is all rounding moves its weight by a share of lr
        assert apart.max() < 0.1 * settings.lr


def test_one_long_row_does_not_let_the_others_share_its_space(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sft.AT_ONCE, "cpu", 40)
    rows = [*EXAMPLES, Example("name the birds", "one two three " * 20)]
    shapes = seen(monkeypatch)
    trainer(base, tmp_path, replace(SHORT, epochs=1, batch_size=len(rows))).train(BASE, rows)
    assert max(width for _, width in shapes) > 40
    assert all(count == 1 or count * width <= 40 for count, width in shapes)


def test_an_update_in_parts_gives_the_same_bytes_each_time(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sft.AT_ONCE, "cpu", 60)
    made = [trainer(base, tmp_path / at, SHORT).train(BASE, MIXED) for at in ("a", "b")]
    assert made[0] == made[1]


def test_how_much_is_computed_at_once_is_no_part_of_the_id(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = []
    for at_once in (60, 100_000):
        monkeypatch.setitem(sft.AT_ONCE, "cpu", at_once)
        ids.append(trainer(base, tmp_path / str(at_once)).train(BASE, MIXED).id)
    assert ids[0] == ids[1]


def test_the_router_of_a_mixture_sees_the_whole_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import MixtralConfig, MixtralForCausalLM

    base = tiny.build(tmp_path / "base")
    config = MixtralConfig.from_pretrained(base, num_local_experts=2, num_key_value_heads=1)
    MixtralForCausalLM(config).save_pretrained(base)
    monkeypatch.setitem(sft.AT_ONCE, "cpu", 1)
    shapes = seen(monkeypatch)
    trainer(base, tmp_path, replace(SHORT, epochs=1)).train(BASE, OTHERS)
    assert [rows for rows, _ in shapes] == [2]


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=12),
    at_once=st.integers(1, 200),
)
def test_parts_hold_every_row_once_and_little_padding(lengths: list[int], at_once: int) -> None:
    width = max(lengths)
    ids = torch.tensor([[i + 1] * n + [0] * (width - n) for i, n in enumerate(lengths)])
    batch = {"input_ids": ids, "labels": -ids, "attention_mask": (ids > 0).long()}
    made = parts(batch, at_once)
    rows = [row[row > 0].tolist() for part in made for row in part["input_ids"]]
    assert sorted(rows) == sorted([i + 1] * n for i, n in enumerate(lengths))
    for part in made:
        assert len(part["input_ids"]) == 1 or part["input_ids"].numel() <= at_once
        assert part["attention_mask"].sum(1).max() == part["input_ids"].shape[1]
        assert torch.equal(part["labels"], -part["input_ids"])


@pytest.mark.parametrize(
    "error",
    [torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), MemoryError()],
    ids=repr,
)
def test_too_little_memory_computes_an_update_in_parts_and_learns_the_same(
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
) -> None:
    from trl import SFTTrainer

    settings = replace(SHORT, batch_size=6, lr=1e-3)
    whole = trainer(base, tmp_path / "whole", settings).train(BASE, MIXED)
    step = SFTTrainer.training_step
    tried: list[int] = []

    def small(self, model, inputs, *rest):
        tried.append(inputs["input_ids"].numel())
        # not at the first step: what was learnt by then is to be forgotten
        if len(tried) > 1 and tried[-1] > 60:
            raise error
        return step(self, model, inputs, *rest)

    monkeypatch.setattr(SFTTrainer, "training_step", small)
    with caplog.at_level(logging.WARNING):
        split = trainer(base, tmp_path / "parts", settings).train(BASE, MIXED)
    assert split.id == whole.id
    (a, record), (b, same) = learnt(tmp_path / "parts", split), learnt(tmp_path / "whole", whole)
    longest = same["tokens_at_once"] // 6
    said = [record.args for record in caplog.records if record.msg.startswith("out of memory")]
    assert said[0] == (6 * longest, 3 * longest)
    assert [after for _, after in said[:-1]] == [before for before, _ in said[1:]]
    assert (record["tokens_at_once"], record["steps"]) == (said[-1][1], same["steps"])
    assert max(tried[-record["steps"] :]) <= 60
    assert all(torch.allclose(a[name], b[name], atol=1e-5) for name in a)
    assert sorted(p.name for p in (tmp_path / "parts" / str(whole.path)).iterdir()) == [
        "SHA256SUMS", "adapter_config.json", "adapter_model.safetensors", "training.json", "witness.json",
    ]  # fmt: skip


def test_too_little_memory_for_a_single_row_is_one_line(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trl import SFTTrainer

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(SFTTrainer, "training_step", full)
    with pytest.raises(WorldError, match=r"single row; free memory and rerun.*gradient_checkpointing"):
        trainer(base, tmp_path).train(BASE, EXAMPLES)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_others_leave_the_memory_before_a_training_and_only_then(base: Path, tmp_path: Path) -> None:
    left: list[int] = []
    settings = replace(SHORT, epochs=1)
    trainer = SftTrainer(tmp_path, str(base), settings, ON_CPU, make_room=lambda: left.append(1))
    trainer.train(BASE, OTHERS)
    trainer.train(BASE, OTHERS)
    assert left == [1]


def test_an_adapter_of_another_base_is_refused_wherever_it_is_met(base: Path, tmp_path: Path) -> None:
    adapter = trainer(base, tmp_path, replace(SHORT, epochs=1)).train(BASE, OTHERS)
    for name, shape in {"wider": (96, 2), "shallower": (64, 1)}.items():
        other = tiny.build(tmp_path / name, shape=shape)
        says = rf"checkpoint {adapter.id}: this adapter was not made for '.*{name}'"
        with pytest.raises(UserError, match=says):
            answers(other, tmp_path, adapter, OTHERS)
        with pytest.raises(UserError, match=says):
            trainer(other, tmp_path, replace(SHORT, epochs=1)).train(adapter, OTHERS)
    file = tmp_path / str(adapter.path) / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match="adapter_model.safetensors has changed since training"):
        answers(base, tmp_path, adapter, OTHERS)


def test_four_bits_are_refused_where_they_cannot_be_had(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(SHORT, method="qlora")
    with pytest.raises(
        UserError, match=r"^training\.method: 'qlora' needs one NVIDIA GPU, .* 'cpu'; use 'lora'$"
    ):
        trainer(base, tmp_path, settings)
    monkeypatch.setattr(quantized, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'iteralign\[qlora\]'"):
        quantized.require("cuda")


@pytest.mark.gpu
def test_it_learns_the_rows_on_a_base_in_four_bits(base: Path, tmp_path: Path) -> None:
    settings, on_gpu = replace(LORA, method="qlora"), Loading(device="cuda")
    trained = trainer(base, tmp_path, settings, on_gpu).train(BASE, EXAMPLES)
    record = json.loads((tmp_path / str(trained.path) / "training.json").read_text())
    assert trained.kind == "adapter"
    assert record["last_loss"] < record["first_loss"]
    more = trainer(base, tmp_path, settings, on_gpu).train(trained, OTHERS)
    assert answers(base, tmp_path, more, OTHERS)
