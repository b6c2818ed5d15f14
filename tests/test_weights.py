"""Whatever is wrong with a model is said in one line."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from iteralign import weights
from iteralign.errors import UserError
from iteralign.models import tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def broken(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "broken"))


def refusal(folder: Path | str) -> str:
    with pytest.raises(UserError) as caught:
        weights.load_model(weights.Source(str(folder)), "cpu", "float32")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_directory_that_is_no_model(broken: Path, tmp_path: Path) -> None:
    assert "is not a directory" in refusal(tmp_path / "nowhere")
    assert "no config.json" in refusal(tmp_path)
    (broken / "model.safetensors").rename(broken / "pytorch_model.bin")
    assert "no *.safetensors (its weights are pickles" in refusal(broken)


def test_damaged_files(broken: Path) -> None:
    whole = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "cannot load" in refusal(broken)
    (broken / "config.json").write_text("{")
    assert "cannot load" in refusal(broken)


def test_missing_weights_are_not_made_up(broken: Path) -> None:
    tensors = load_file(broken / "model.safetensors")
    lost = tensors.pop("model.norm.weight")
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    assert "lacks 1 weights, the first: model.norm.weight" in refusal(broken)
    tensors["model.norm.weight"] = lost[:-1].clone()
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    assert "norm.weight" in refusal(broken)


def test_an_unknown_hub_id_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "no model 'nobody/nothing'" in refusal("nobody/nothing")
    assert "neither a directory nor a hub id" in refusal("no model!")


def test_no_code_of_the_repository_runs(broken: Path) -> None:
    config = json.loads((broken / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {"AutoModelForCausalLM": "own.Own", "AutoConfig": "own.Config"},
    }
    (broken / "config.json").write_text(json.dumps(config))
    (broken / "own.py").write_text("raise SystemExit('ran')")
    assert "custom code" in refusal(broken)


def test_device_and_number_format() -> None:
    assert weights.dtype_of("auto", "cpu") == "float32"
    assert weights.dtype_of("bfloat16", "cpu") == "bfloat16"
    with pytest.raises(UserError, match="did you mean 'float16'"):
        weights.dtype_of("float61", "cpu")
    with pytest.raises(UserError, match=r"policy\.device"):
        weights.device_of("tpu")
