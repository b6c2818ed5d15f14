"""QLoRA: while the adapter is trained, the base lies in memory in four bits (NF4, Dettmers et al. 2023).

The adapter is then served on the base in `policy.dtype`, as any other; what rounding the base to four bits does
to it is the price of the smaller memory. bitsandbytes does it, and for us on NVIDIA GPUs only.
"""

from importlib.util import find_spec
from typing import Any

from iteralign.errors import UserError


def require(device: str) -> None:
    """Raises UserError where four bits cannot be had."""
    if device != "cuda":
        raise UserError(
            f"training.method: 'qlora' needs one NVIDIA GPU, and the policy's device is {device!r}; use 'lora'"
        )
    if find_spec("bitsandbytes") is None:
        raise UserError(
            "training.method: 'qlora' needs the package bitsandbytes; pip install 'iteralign[qlora]', or use 'lora'"
        )


def options(device: str, dtype: str) -> dict[str, Any]:
    """What transformers is told when it loads the base; `dtype` is computed in."""
    import torch
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )
    return {"quantization_config": config, "device_map": {"": device}}


def prepared(base: Any, gradient_checkpointing: bool) -> Any:
    """The base ready for an adapter: what stays unquantized is in float32, and gradients reach its input."""
    from peft import prepare_model_for_kbit_training

    return prepare_model_for_kbit_training(base, use_gradient_checkpointing=gradient_checkpointing)
