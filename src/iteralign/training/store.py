"""Checkpoints on disk: named by what made them, there whole or not at all."""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

from iteralign.types import Checkpoint, Example


def checkpoint_id(trainer: str, start: Checkpoint, examples: Sequence[Example]) -> str:
    """A digest of trainer, starting point and rows, in their order."""
    made_of = [trainer, start.id, [astuple(e) for e in examples]]
    return hashlib.sha256(json.dumps(made_of, ensure_ascii=False).encode()).hexdigest()[:16]


@contextlib.contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """A directory to fill, which becomes `folder` if the block succeeds and leaves nothing if not.

    What a killed process left under the temporary name is cleared by the next attempt, and by the sweep of a run.
    Raises OSError where the disk refuses, also for what safetensors wrote.
    """
    partial = folder.with_name(f".tmp-{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with _plain_errors():
            yield partial
        for file in partial.iterdir():
            _sync(file)
        _sync(partial)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """safetensors has an error of its own for a full disk; the number of the system's stands in its text."""
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        found = re.search(r"os error (\d+)", str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1]))) from error


def save_adapter(folder: Path, model: Any, base: str) -> None:
    """`adapter_model.safetensors` and `adapter_config.json`, the same bytes for the same adapter.

    Written here because peft's own saving adds a model card, asks the hub about the base, and lists
    the target modules in the order of a set. `base` is the name of the base as the user gave it.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(state.items())}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = model.peft_config["default"].to_dict()
    config |= {"base_model_name_or_path": base, "inference_mode": True}
    write_json(folder / "adapter_config.json", config)


def copy_adapter(folder: Path, out: Path) -> None:
    """The two files of the adapter in `folder`, which peft and vLLM load, to `out`."""
    with written_whole(out) as partial:
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copy2(folder / name, partial / name)


def write_json(path: Path, value: Any) -> None:
    def plain(item: Any) -> Any:
        return sorted(item) if isinstance(item, set | frozenset) else str(item)

    if isinstance(value.get("target_modules"), list):
        value["target_modules"] = sorted(value["target_modules"])
    path.write_text(json.dumps(value, indent=1, sort_keys=True, default=plain) + "\n", encoding="utf-8")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
