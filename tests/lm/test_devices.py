"""A model over several GPUs: the CPU stands for two, under two names. Its layers are placed, hooks carry what goes from
one to the next, and it answers and trains that way; that two real GPUs do is not tested."""

import json
from pathlib import Path
from typing import Literal

import pytest
import torch

from iteralign.errors import UserError, WorldError
from iteralign.lm import devices, weights
from iteralign.models import tiny
from iteralign.models.hf import HfPolicies
from iteralign.settings import Loading, Policy, Training
from iteralign.training.sft import SftTrainer
from iteralign.types import Checkpoint, Example, Message, Sampling

BASE = Checkpoint("base", "base")
ROWS = [Example("tell me the city", "the city is red."), Example("find a cat", "one cat, two dog.")]
ASKED = [(Message("user", row.prompt),) for row in ROWS]
LAYERS = (
    "model.embed_tokens",
    "model.layers.0",
    "model.layers.1",
    "model.norm",
    "model.rotary_emb",
    "lm_head",
)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny.build(tmp_path / "base")


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "device_of", lambda name: name)
    halves = dict.fromkeys(LAYERS[:3], torch.device("cpu")) | dict.fromkeys(
        LAYERS[3:], torch.device("cpu", 0)
    )
    monkeypatch.setattr(devices, "shares", lambda: halves)


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.usefixtures("pretended")
def test_a_shared_out_model_learns_and_answers_as_one_in_one_place(
    base: Path, tmp_path: Path, method: Literal["lora", "full"]
) -> None:
    found = {}
    for device in ("cpu", devices.SPREAD):
        root, lr = tmp_path / device, 2e-2 if method == "lora" else 5e-3
        settings = Training(method, 30, lr, 2, lora_rank=4)
        loading = Loading(device=device, dtype="float32")
        trained = SftTrainer(root, str(base), settings, loading).train(BASE, ROWS)
        record = json.loads((root / str(trained.path) / "training.json").read_text())
        policies = HfPolicies(root, str(base), Policy(device=device, dtype="float32"))
        with policies.serve(trained) as model:
            answers = [reply.text for reply in model.generate(ASKED, Sampling(max_tokens=40))]
        found[device] = (answers, record["first_loss"], record["last_loss"])
    assert found["cpu"] == found[devices.SPREAD]
    assert found["cpu"][0] == [row.completion for row in ROWS]


@pytest.mark.usefixtures("pretended")
def test_a_model_is_told_its_places_and_none_may_be_off_the_gpus(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = weights.load_model(weights.Source(str(base)), devices.SPREAD, "float32")
    assert set(model.hf_device_map) == set(LAYERS)
    assert all(hasattr(layer, "_hf_hook") for layer in model.model.layers)
    monkeypatch.setattr(
        devices, "shares", lambda: dict.fromkeys(LAYERS, torch.device("cpu")) | {"lm_head": "cpu"}
    )
    with pytest.raises(WorldError, match="out of memory while loading .* on all-gpus; free memory"):
        weights.load_model(weights.Source(str(base)), devices.SPREAD, "float32")
    assert devices.placing("cpu") == devices.placing("cuda") == {}


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("name", ["cuda", devices.SPREAD])
def test_without_a_gpu_one_line_says_what_to_take(name: str) -> None:
    with pytest.raises(
        UserError, match=rf"^policy\.device: '{name}' but torch finds no such device here; use auto"
    ):
        devices.device_of(name)
