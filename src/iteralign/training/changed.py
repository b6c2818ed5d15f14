"""Changed: how much of the weights a training moved at all, as the policy will hold them.

A full fine-tune computes in float32, and a policy in half precision rounds what comes out. With a low learning
rate most weights round back to what they were: the policy that answers has then hardly been trained, and nothing
else would say so.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from iteralign.settings import Training

log = logging.getLogger(__name__)
SAMPLE = 4096
"""Values of each tensor that are looked at, evenly spaced; of large models a copy would not fit (chosen)."""
LOST = 0.5
"""Of what training moved, the share that may be rounded away without a word (chosen)."""
FEW = 0.01
"""Below this share of moved weights the updates are too small for the number format itself (chosen)."""

Values = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class WeightChange:
    """Shares of the trained weights: `moved` by training, and `kept` moved in the policy's number format."""

    moved: float
    kept: float

    @property
    def too_little(self) -> bool:
        return self.kept < LOST * self.moved or self.moved < FEW


def values(model: Any) -> Values:
    """Some values of every weight that is to be trained, copied."""
    return {name: _some(p) for name, p in model.named_parameters() if p.requires_grad}


def since(before: Values, model: Any, dtype: str) -> WeightChange:
    """What became of them; `dtype` is what the policy holds them in."""
    served, total, moved, kept = getattr(torch, dtype), 0, 0.0, 0.0
    for name, parameter in model.named_parameters():
        if name in before:
            old, new, n = before[name], _some(parameter), parameter.numel()
            total += n
            moved += n * float((old != new).double().mean())
            kept += n * float((old.to(served) != new.to(served)).double().mean())
    return WeightChange(round(moved / total, 4), round(kept / total, 4))


def reported(before: Values, model: Any, settings: Training, dtype: str) -> WeightChange:
    """The same as the policy of these (resolved) settings will hold the weights, and one line if too little of the
    training is left."""
    # An adapter runs in float32 beside its base, whatever that is in.
    dtype = dtype if settings.method == "full" else "float32"
    changed = since(before, model, dtype)
    if changed.too_little:
        _warn(changed, settings, dtype)
    return changed


def _warn(changed: WeightChange, settings: Training, dtype: str) -> None:
    ways = [f"a higher training.lr than {settings.lr:g}"]
    if (
        changed.moved == 0
    ):  # the learning rate of the first update is 0 under a warm-up, and there may be no second
        ways.append("training.warmup_ratio = 0")
    if dtype != "float32":
        ways.insert(0, "policy.dtype = 'float32'")
    if settings.method == "full":
        ways.append("training.method = 'lora'")
    log.warning(
        "training changed %.1f %% of the weights, %.1f %% as the policy holds them (%s): the policy is hardly "
        "another one; set %s",
        100 * changed.moved,
        100 * changed.kept,
        dtype,
        " or ".join(ways),
    )


def _some(parameter: torch.Tensor) -> torch.Tensor:
    flat = parameter.detach().reshape(-1)
    return flat[:: max(1, flat.numel() // SAMPLE)].to("cpu", torch.float32, copy=True)
