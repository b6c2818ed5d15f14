"""Export: a trained policy as one model directory that any library loads, without this package or peft.

The adapter is merged in float32 and rounded once, to the number format that is asked for.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iteralign.errors import unknown
from iteralign.lm import adapters, checkpoints, devices, weights
from iteralign.training import store
from iteralign.types import Checkpoint


@dataclass(frozen=True)
class MergeOptions:
    """template: the policy's, which goes with the model. dtype: its number format; auto is the base's own."""

    template: str = "auto"
    dtype: str = "auto"


def merge(base: weights.Source, checkpoint: Checkpoint, root: Path, out: Path, options: MergeOptions) -> Path:
    """Write weights, config and tokenizer of `checkpoint`, which lies in `root`, to `out`, whole or not at all.

    Raises UserError (the checkpoint is damaged, the adapter is for another base), WorldError (memory).
    """
    if options.dtype not in devices.DTYPES:
        raise unknown("--dtype", options.dtype, devices.DTYPES)
    checkpoints.require(root, checkpoint)
    folder, full = root / str(checkpoint.path), checkpoint.kind == "full"
    model = weights.load_model(weights.Source(str(folder)) if full else base, "cpu", "float32")
    if checkpoint.kind == "adapter":
        with weights.quiet():
            model = adapters.beside(model, folder, base.name).merge_and_unload()
    tokenizer = weights.load_chat(base, options.template).portable()
    weights.require_savable(model.config, tokenizer, base)
    with store.written_whole(out) as partial, weights.quiet():
        model.to(_format(base, options.dtype)).save_pretrained(partial)
        tokenizer.save_pretrained(partial)
    return out


def _format(base: weights.Source, name: str) -> Any:
    import torch

    if name != "auto":
        return getattr(torch, devices.dtype_of(name, "cpu"))
    own = weights.config_in(weights.find(base), base).dtype
    return getattr(torch, own) if isinstance(own, str) else own or torch.float32
