"""Devices and number formats: what the names in a config mean on this machine."""

import gc
from typing import Any

from iteralign.errors import UserError, unknown

SPREAD = "all-gpus"
"""A model over all GPUs of this machine, its layers shared out in order; they compute one after the other."""
DEVICES = ("auto", "cpu", "cuda", SPREAD, "mps")
DTYPES = ("auto", "float32", "bfloat16", "float16")
OFF_GPU = frozenset({"cpu", "disk"})
"""Where transformers leaves the layers for which the GPUs have no room."""


def device_of(name: str) -> str:
    """`auto` is the first GPU there is, else the CPU. Raises UserError."""
    import torch

    if name not in DEVICES:
        raise unknown("policy.device", name, DEVICES)
    gpu = torch.cuda.is_available()
    has = {"cpu": True, "cuda": gpu, SPREAD: gpu, "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return "cuda" if has["cuda"] else "mps" if has["mps"] else "cpu"
    if not has[name]:
        raise UserError(f"policy.device: {name!r} but torch finds no such device here; use auto or cpu")
    return name


def dtype_of(name: str, device: str) -> str:
    """`auto` is bfloat16 on a GPU that computes in it, else float32. Raises UserError.

    The CPU stays at float32 even where it knows bfloat16: without the instructions half precision is
    about a hundred times slower, and with them greedy answers change with the batch size (measured
    in 7 of 16 sequences), so that a batch cut in two would no longer be the same batch. float16
    overflows in some models, so it is only used when asked for.
    """
    import torch

    if name not in DTYPES:
        raise unknown("policy.dtype", name, DTYPES)
    if name != "auto":
        return name
    native = on_gpu(device) and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if native else "float32"


def on_gpu(device: str) -> bool:
    """Whether it is one NVIDIA GPU or all of them."""
    return device in ("cuda", SPREAD)


def placing(device: str) -> dict[str, Any]:
    """What transformers is told when it loads a model that one `to(device)` could not place."""
    return {"device_map": shares()} if device == SPREAD else {}


def shares() -> Any:
    """transformers' `device_map`: every GPU gets layers of like size."""
    return "balanced"


def require_whole(model: Any, device: str) -> None:
    """Raises MemoryError if a layer found no GPU: it could answer, slowly, and not be trained."""
    if device == SPREAD and OFF_GPU & set(getattr(model, "hf_device_map", {}).values()):
        raise MemoryError("the GPUs together are too small")


def give_back(device: str) -> None:
    """Return the memory of models that nobody holds any more to the GPU."""
    if on_gpu(device):
        import torch

        gc.collect()
        torch.cuda.empty_cache()
