"""Export: a trained policy as one model directory that any library loads, without this package or peft.

The adapter is merged in float32 and rounded once, to the number format that is asked for.
"""

from pathlib import Path
from typing import Any, Literal

from iteralign import adapters, weights
from iteralign.errors import unknown
from iteralign.training import store


def merge(
    base: weights.Source,
    checkpoint: Path,
    kind: Literal["base", "adapter", "full"],
    out: Path,
    dtype: str = "auto",
) -> Path:
    """Write weights, config and tokenizer of the policy in directory `checkpoint` to `out`, whole or not at all.

    `dtype` auto is the base's own format. Raises UserError (the adapter is for another base), WorldError (memory).
    """
    if dtype not in weights.DTYPES:
        raise unknown("--dtype", dtype, weights.DTYPES)
    source = base if kind != "full" else weights.Source(str(checkpoint))
    model = weights.load_model(source, "cpu", "float32")
    if kind == "adapter":
        with weights.quiet():
            model = adapters.beside(model, checkpoint, base.name).merge_and_unload()
    tokenizer = weights.load_tokenizer(base if kind != "full" else source)
    with store.written_whole(out) as partial, weights.quiet():
        model.to(_format(base, dtype)).save_pretrained(partial)
        tokenizer.save_pretrained(partial)
    return out


def _format(base: weights.Source, name: str) -> Any:
    import torch

    if name != "auto":
        return getattr(torch, weights.dtype_of(name, "cpu"))
    own = weights.config_in(weights.find(base), base).dtype
    return getattr(torch, own) if isinstance(own, str) else own or torch.float32
