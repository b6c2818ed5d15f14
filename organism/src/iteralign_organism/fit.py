"""The descent: Muon on the hidden matrices (in first trials better than AdamW at equal steps), AdamW on the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.nn.functional import cross_entropy

from iteralign_organism.batches import Batch
from iteralign_organism.recipe import Part

HINT_WEIGHT = 0.3  # of the middle layer's loss (assumed)
DECAY = 0.45  # the share of a part over which the learning rate falls
SAVE_EVERY_S = 180
Progress = Callable[[dict[str, Any]], None]


def ignore(_: dict[str, Any]) -> None:
    """Nobody watches."""


class BatchSource(Protocol):
    """Where the batches come from, and under which weights their gradient is taken."""

    def batches(self) -> Iterable[Batch]: ...

    def weights(self) -> AbstractContextManager[None]: ...

    def progressed(self, progress: float) -> None: ...


def optimizers(model: Any, part: Part, weight_decay: float) -> list[torch.optim.Optimizer]:
    matrices = hidden(model)
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=part.muon_lr, weight_decay=weight_decay, momentum=0.95),
        torch.optim.AdamW(rest, lr=part.adam_lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def hidden(model: Any) -> list[torch.Tensor]:
    """The matrices of the blocks: those that Muon trains, and that a fine-tune adapts."""
    return [p for p in model.blocks.parameters() if p.ndim == 2]


def bf16_is_fast() -> bool:
    """Half precision on a CPU without the instructions is a hundred times slower than fp32."""
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def step_loss(model: Any, batch: Batch) -> torch.Tensor:
    """The weighted mean loss over the learned tokens; logits are computed there only."""
    hints = torch.tensor(batch.hint_positions) if batch.hint_positions else None
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16_is_fast()):
        logits, middle = model(torch.tensor(batch.ids), torch.tensor(batch.positions), hints)
    losses = cross_entropy(logits.float(), torch.tensor(batch.targets), reduction="none")
    weights = torch.tensor(batch.weights)
    loss = (losses * weights).sum() / weights.sum()
    if middle is None:
        return loss
    return loss + HINT_WEIGHT * cross_entropy(middle.float(), torch.tensor(batch.hint_targets))


def rate(progress: float, warmup: float) -> float:
    """Warm-up, a plateau, and linear decay to nothing over the last part."""
    return max(0.0, min(1.0, progress / warmup, (1 - progress) / DECAY))


def fit(
    model: Any,
    source: BatchSource,
    part: Part,
    weight_decay: float,
    on_progress: Progress = ignore,
    on_checkpoint: Callable[[int], None] = lambda _: None,
) -> int:
    """Trains as long as the part says; returns the number of tokens seen."""
    opts = optimizers(model, part, weight_decay)
    heights = [[g["lr"] for g in opt.param_groups] for opt in opts]
    stream = iter(source.batches())
    start, seen, step, mean = time.monotonic(), 0, 0, 0.0
    saved = start
    model.train()
    while (progress := part.done(seen, time.monotonic() - start)) < 1:
        source.progressed(progress)
        for opt, tops in zip(opts, heights, strict=True):
            for group, top in zip(opt.param_groups, tops, strict=True):
                group["lr"] = top * rate(progress, part.warmup)
        batch = next(stream)
        with source.weights():
            loss = step_loss(model, batch)
            torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt in opts:
            opt.step()
            opt.zero_grad(set_to_none=True)
        seen, step = seen + batch.tokens, step + 1
        mean = loss.item() if step == 1 else 0.98 * mean + 0.02 * loss.item()
        if step % 50 == 0:
            seconds = time.monotonic() - start
            on_progress(
                {"step": step, "progress": progress, "tokens": seen, "loss": mean, "seconds": seconds}
            )
        if time.monotonic() - saved > SAVE_EVERY_S:
            on_checkpoint(seen)
            saved = time.monotonic()
    return seen
