"""Whatever is wrong with a model is said in one line."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from iteralign.errors import UserError, WorldError
from iteralign.lm import devices, weights
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
    said = refusal(broken)
    assert "pickles only (pytorch_model.bin), which can run code when loaded" in said
    assert "save_pretrained()" in said
    (broken / "pytorch_model.bin").unlink()
    assert "has no *.safetensors" in refusal(broken)


def test_an_adapter_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "its/base"}')
    assert "is an adapter for 'its/base', not a model; name that model, or merge" in refusal(tmp_path)


def test_what_is_no_causal_language_model(broken: Path) -> None:
    from transformers import T5Config

    T5Config(vocab_size=10).save_pretrained(broken)
    assert "is not a causal language model" in refusal(broken)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory. Tried"), MemoryError()], ids=repr
)
def test_too_little_memory_for_the_weights(
    model: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    from transformers import PreTrainedModel

    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(PreTrainedModel, "to", full)
    with pytest.raises(WorldError, match="out of memory while loading .* on cpu; free memory and rerun"):
        weights.load_model(weights.Source(str(model)), "cpu", "float32")


def test_how_memory_is_said_to_have_run_out() -> None:
    assert weights.ran_out(torch.cuda.OutOfMemoryError("CUDA out of memory"))
    assert weights.ran_out(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"))
    assert weights.ran_out(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"))
    assert not weights.ran_out(RuntimeError("size mismatch"))


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


def test_no_code_of_the_repository_runs(broken: Path) -> None:
    config = json.loads((broken / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {"AutoModelForCausalLM": "own.Own", "AutoConfig": "own.Config"},
    }
    (broken / "config.json").write_text(json.dumps(config))
    (broken / "own.py").write_text("raise SystemExit('ran')")
    said = refusal(broken)
    assert "custom code" in said
    assert "policy.trust_remote_code = true" in said


def test_a_token_that_the_model_has_no_embedding_for(broken: Path) -> None:
    tokenizer = weights.load_tokenizer(weights.Source(str(broken)))
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(broken)
    with pytest.raises(
        UserError, match=r"pad token '\[PAD\]' has the id \d+, but the model has \d+ embeddings"
    ):
        weights.load_chat(weights.Source(str(broken)))


def test_where_a_model_ends_by_its_own_account(broken: Path) -> None:
    assert weights.ends_of(broken) == {1}
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps({"text_config": config}))
    (broken / "generation_config.json").write_text('{"eos_token_id": [1, 7]}')
    assert weights.ends_of(broken) == {1, 7}


def test_device_and_number_format() -> None:
    assert devices.dtype_of("auto", "cpu") == "float32"
    assert devices.dtype_of("bfloat16", "cpu") == "bfloat16"
    with pytest.raises(UserError, match="did you mean 'float16'"):
        devices.dtype_of("float61", "cpu")
    with pytest.raises(UserError, match=r"policy\.device"):
        devices.device_of("tpu")
