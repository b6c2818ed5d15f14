"""Trains the organism from scratch: a small Llama on the world's conversations.

Muon on the hidden matrices (measured in first trials: better than AdamW at equal steps), AdamW on the rest.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from iteralign.organism import corpus, vocabulary
from iteralign.organism.batches import Batch, Encoder, batches
from iteralign.organism.world import DEFAULT_GAPS

DECAY = 0.45  # the share of the training over which the learning rate falls
Progress = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, besides the corpus itself."""

    gaps: tuple[str, ...] = DEFAULT_GAPS
    seed: int = 1
    minutes: float = 60.0
    width: int = 192
    layers: int = 6
    batch_tokens: int = 4500
    muon_lr: float = 0.02
    adam_lr: float = 4e-3
    weight_decay: float = 0.01
    warmup: float = 0.02  # share of the training
    threads: int = 2


def optimizers(model: Any, recipe: Recipe) -> list[Any]:
    import torch

    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=recipe.muon_lr, weight_decay=recipe.weight_decay, momentum=0.95),
        torch.optim.AdamW(rest, lr=recipe.adam_lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def bf16_is_fast() -> bool:
    """Half precision on a CPU without the instructions is a hundred times slower than fp32."""
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def step_loss(model: Any, batch: Batch, half: bool) -> Any:
    """The mean loss over the learned tokens; logits are computed there only."""
    import torch
    from torch.nn.functional import cross_entropy

    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        logits = model(torch.tensor(batch.ids), torch.tensor(batch.positions))
    return cross_entropy(logits.float(), torch.tensor(batch.targets))


def rate(progress: float, warmup: float) -> float:
    """Warm-up, a plateau, and linear decay to nothing over the last part."""
    return max(0.0, min(1.0, progress / warmup, (1 - progress) / DECAY))


def fit(model: Any, encoder: Encoder, recipe: Recipe, on_progress: Progress, on_checkpoint: Callable[[], None]) -> int:
    """Trains for the recipe's minutes; returns the number of tokens seen."""
    import torch

    schedule = corpus.ShareSchedule()
    stream = batches(corpus.stream(recipe.gaps, recipe.seed, schedule), encoder, recipe.batch_tokens, recipe.seed)
    opts, half = optimizers(model, recipe), bf16_is_fast()
    bases = [[g["lr"] for g in opt.param_groups] for opt in opts]
    start, seen, step, mean = time.monotonic(), 0, 0, 0.0
    saved = start
    model.train()
    while (progress := (time.monotonic() - start) / (60 * recipe.minutes)) < 1:
        schedule.update(progress)
        for opt, lrs in zip(opts, bases, strict=True):
            for group, lr in zip(opt.param_groups, lrs, strict=True):
                group["lr"] = lr * rate(progress, recipe.warmup)
        batch = next(stream)
        loss = step_loss(model, batch, half)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt in opts:
            opt.step()
            opt.zero_grad(set_to_none=True)
        seen, step = seen + batch.tokens, step + 1
        mean = loss.item() if step == 1 else 0.98 * mean + 0.02 * loss.item()
        if step % 50 == 0:
            on_progress({"step": step, "progress": progress, "tokens": seen, "loss": mean, "seconds": time.monotonic() - start})
        if time.monotonic() - saved > 180:
            on_checkpoint()
            saved = time.monotonic()
    return seen


def train(out_dir: Path, recipe: Recipe, on_progress: Progress = lambda _: None) -> Path:
    """The whole recipe: tokenizer, model, training, saved model directory."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    out_dir = Path(out_dir)
    tokenizer = vocabulary.build(out_dir)
    from iteralign.organism.lean import Lean

    model = Lean(len(tokenizer), recipe.width, recipe.layers)
    started = time.monotonic()
    tokens = fit(model, Encoder(tokenizer), recipe, on_progress, lambda: save(model, out_dir, recipe, 0, 0.0))
    save(model, out_dir, recipe, tokens, time.monotonic() - started)
    return out_dir


def save(model: Any, out_dir: Path, recipe: Recipe, tokens: int, seconds: float) -> None:
    from iteralign.organism.lean import to_llama

    to_llama(model, pad=0, end=1).save_pretrained(out_dir)
    card = {"gaps": list(recipe.gaps), "seed": recipe.seed, "recipe": asdict(recipe), "tokens": tokens, "seconds": seconds}
    (out_dir / "organism.json").write_text(json.dumps(card, indent=2) + "\n", "utf-8")


def main_trial(argv: Sequence[str]) -> None:
    """Development entry: `python -m iteralign.organism.train OUT minutes [field=value ...]`."""
    out, minutes, *rest = argv
    fields: dict[str, Any] = {k: type(getattr(Recipe(), k))(v) for k, v in (r.split("=") for r in rest)}

    def show(event: dict[str, Any]) -> None:
        print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in event.items()}), flush=True)

    train(Path(out), Recipe(minutes=float(minutes), **fields), show)


if __name__ == "__main__":
    import sys

    main_trial(sys.argv[1:])
