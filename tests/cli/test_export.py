"""export: a run's policy as a model of its own, and as an adapter. The run is the rehearsal's, its weights are real."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from iteralign.errors import UserError
from iteralign.lm import adapters, weights
from iteralign.models import tiny
from iteralign.settings import Loading, Training
from iteralign.training.sft import SftTrainer
from iteralign.types import Checkpoint, Example

ON_CPU = Loading(device="cpu")

SETTINGS = Training(lr=1e-2, epochs=1, lora_rank=4)
ADAPTER = ["adapter_config.json", "adapter_model.safetensors"]


@pytest.fixture(autouse=True)
def near(here: Path) -> None:
    """The rehearsal's runs name a model elsewhere; here it is the one beside them."""
    for name in ("done", "half"):
        file = here / "runs" / name / "config.json"
        values = json.loads(file.read_text())
        values["policy"]["model"] = "model"
        file.write_text(json.dumps(values))


@pytest.fixture
def trained(here: Path) -> Path:
    """The folder of the last checkpoint of `done`, with an adapter for `model`, which is a tiny Llama."""
    base = tiny.build(here / "model")
    folders = sorted((here / "runs" / "done" / "checkpoints").iterdir())
    made = SftTrainer(here, str(base), SETTINGS, ON_CPU).train(
        Checkpoint("b", "model"), [Example("the key", "no.")]
    )
    for folder in folders:
        shutil.copytree(here / str(made.path), folder, dirs_exist_ok=True)
    return folders[-1]


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(torch.tensor([[6, 7, 8, 9]])).logits
    return found


def test_a_whole_model(here: Path, trained: Path, call: Callable[..., Any]) -> None:
    said = call("export", "done", "--merged", "out")
    assert (said.code, said.out) == (0, "")
    assert said.err.startswith("wrote out (")
    base = weights.load_model(weights.Source("model"), "cpu", "float32")
    expected = logits(adapters.beside(base, trained, "model"))
    alone = weights.load_model(weights.Source("out"), "cpu", "float32")
    assert torch.allclose(logits(alone), expected, atol=1e-5)
    assert weights.load_chat(weights.Source("out")).end == "<|end|>"
    assert not list(here.glob(".tmp-*"))


def test_a_number_format_of_ones_own(here: Path, trained: Path, call: Callable[..., Any]) -> None:
    assert call("export", "done", "--merged", "out", "--dtype", "bfloat16", "-t", "1").code == 0
    sizes = [Path(place, "model.safetensors").stat().st_size for place in ("out", "model")]
    assert 0.4 < sizes[0] / sizes[1] < 0.6
    assert weights.config_in(Path("out"), weights.Source("out")).dtype == torch.bfloat16


def test_the_adapter_alone(here: Path, trained: Path, call: Callable[..., Any]) -> None:
    assert call("export", "done", "--adapter", "out").code == 0
    assert sorted(p.name for p in Path("out").iterdir()) == ADAPTER
    assert all(Path("out", name).read_bytes() == (trained / name).read_bytes() for name in ADAPTER)


def test_full_weights_have_no_adapter_and_are_copied_in_the_bases_format(
    here: Path, call: Callable[..., Any]
) -> None:
    from iteralign.record.replay import config_of
    from iteralign.run import build

    base = tiny.build(here / "model")
    full = replace(SETTINGS, method="full")
    made = SftTrainer(here, str(base), full, ON_CPU).train(
        Checkpoint("b", "model"), [Example("the key", "no.")]
    )
    with pytest.raises(UserError, match="holds all weights, no adapter; use --merged"):
        build.adapter(here, made, here / "out")
    build.merged(config_of(here / "runs" / "done"), here, made, here / "out", "auto")
    models = [weights.load_model(weights.Source(str(p)), "cpu", "float32") for p in ("out", str(made.path))]
    assert torch.equal(logits(models[0]), logits(models[1]))


MISTAKES = {
    "neither": (["done"], "name one of --merged DIR"),
    "both": (["done", "--merged", "a", "--adapter", "b"], "name one of --merged DIR"),
    "a folder that holds something": (["done", "--merged", "model"], "exists and is not empty"),
    "an iteration that there is not": (["done", "--merged", "out", "-t", "99"], "-t 99: runs/done has"),
    "a number format": (["done", "--merged", "out", "--dtype", "float61"], "did you mean 'float16'?"),
    "a run": (["dome", "--merged", "out"], "did you mean runs/done?"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_one_line_and_status_2(here: Path, call: Callable[..., Any], name: str) -> None:
    arguments, says = MISTAKES[name]
    said = call("export", *arguments)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert says in said.err


def test_an_adapter_for_another_base(here: Path, trained: Path, call: Callable[..., Any]) -> None:
    shutil.rmtree(here / "model")
    tiny.build(here / "model", shape=(96, 2))
    said = call("export", "done", "--merged", "out")
    assert said.code == 2
    assert "this adapter was not made for 'model'" in said.err
    assert not any(Path("out").iterdir())


def test_nothing_was_trained(here: Path, call: Callable[..., Any]) -> None:
    for folder in (here / "runs" / "half" / "iterations").iterdir():
        if folder.name != "000":
            shutil.rmtree(folder)
    said = call("export", "half", "--merged", "out")
    assert said.code == 2
    assert "holds no trained policy yet" in said.err
