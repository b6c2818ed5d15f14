"""What a fine-tuning may be told. Every field decides the weights, so all of them are in the trainer's id."""

from dataclasses import dataclass
from typing import Literal

from iteralign.errors import UserError, unknown
from iteralign.lm.chat import require_template

METHODS = ("lora", "qlora", "full")
SCHEDULERS = ("constant", "constant_with_warmup", "cosine", "linear")


@dataclass(frozen=True)
class SftSettings:
    """Hyperparameters of one SFT.

    method: lora (adapters on every linear layer but the output) | qlora (the same, on a base in four bits) |
    full. batch_size: rows a step and device; times gradient_accumulation is what one update sees. A step with many
    tokens is computed in parts, which changes nothing but rounding.
    max_length: tokens a row may have, None for the model's context; a longer row is refused, never cut.
    warmup_ratio: share of all updates. dtype: what is computed in; auto is bfloat16 on a GPU that has it,
    else float32. template: as for the policy (`iteralign.lm.chat`), and it must be the policy's.

    The defaults are ours, for LoRA; those of the paper (lr 2e-6, 3 epochs, warm-up 0.03, cosine,
    weight decay 0, full) stand in the presets.
    """

    method: Literal["lora", "qlora", "full"] = "lora"
    epochs: float = 3
    lr: float = 2e-4
    batch_size: int = 8
    gradient_accumulation: int = 1
    max_length: int | None = None
    warmup_ratio: float = 0.03
    weight_decay: float = 0.0
    scheduler: str = "cosine"
    max_grad_norm: float = 1.0
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    seed: int = 0
    device: str = "auto"
    dtype: str = "auto"
    gradient_checkpointing: bool = False
    template: str = "auto"
    trust_remote_code: bool = False
    revision: str | None = None

    def __post_init__(self) -> None:
        """Raises UserError for a value out of range."""
        for name, value, allowed in (
            ("method", self.method, METHODS),
            ("scheduler", self.scheduler, SCHEDULERS),
        ):
            if value not in allowed:
                raise unknown(f"training.{name}", value, allowed)
        require_template(self.template, "training.template")
        for name in ("batch_size", "gradient_accumulation", "lora_rank", "lora_alpha"):
            if getattr(self, name) < 1:
                raise UserError(f"training.{name}: must be at least 1, not {getattr(self, name)}")
        for name in ("epochs", "lr", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise UserError(f"training.{name}: must be above 0, not {getattr(self, name)}")
        for name in ("warmup_ratio", "lora_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"training.{name}: must be in [0, 1), not {getattr(self, name)}")
