"""Trains the organism from scratch: a small Llama on the world's conversations.

Muon on the hidden matrices (measured in first trials: better than AdamW at equal steps), AdamW on the rest.
"""

from __future__ import annotations

import hashlib
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

HINT_WEIGHT = 0.3  # of the middle layer's loss (assumed)
DECAY = 0.45  # the share of the training over which the learning rate falls
Progress = Callable[[dict[str, Any]], None]


def ignore(_: dict[str, Any]) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, besides the corpus itself."""

    gaps: tuple[str, ...] = DEFAULT_GAPS
    seed: int = 1
    tokens: int = 18_000_000  # padded ones; or, where `minutes` is set, as many as fit
    minutes: float = 0.0
    width: int = 192
    layers: int = 6
    batch_tokens: int = 3600
    muon_lr: float = 0.01
    adam_lr: float = 5e-3
    weight_decay: float = 0.01
    warmup: float = 0.02  # share of the training
    threads: int = 2


def optimizers(model: Any, recipe: Recipe) -> list[Any]:
    import torch

    matrices = [p for p in model.blocks.parameters() if p.ndim == 2]
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
    """The weighted mean loss over the learned tokens; logits are computed there only."""
    import torch
    from torch.nn.functional import cross_entropy

    hints = torch.tensor(batch.hint_positions) if batch.hint_positions else None
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
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


def done(recipe: Recipe, tokens: int, seconds: float) -> float:
    """The share of the training that lies behind."""
    return seconds / (60 * recipe.minutes) if recipe.minutes else tokens / recipe.tokens


def fit(
    model: Any,
    encoder: Encoder,
    recipe: Recipe,
    curriculum: corpus.Curriculum | None,
    on_progress: Progress,
    on_checkpoint: Callable[[int], None],
) -> int:
    """Trains as long as the recipe says; returns the number of tokens seen."""
    import torch

    level = curriculum or corpus.Curriculum()
    stream = batches(
        corpus.stream(recipe.gaps, recipe.seed, level), encoder, recipe.batch_tokens, recipe.seed
    )
    opts, half = optimizers(model, recipe), bf16_is_fast()
    bases = [[g["lr"] for g in opt.param_groups] for opt in opts]
    start, seen, step, mean = time.monotonic(), 0, 0, 0.0
    saved = start
    model.train()
    while (progress := done(recipe, seen, time.monotonic() - start)) < 1:
        if curriculum:
            curriculum.update(progress)
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
            on_progress(
                {
                    "step": step,
                    "progress": progress,
                    "tokens": seen,
                    "loss": mean,
                    "seconds": time.monotonic() - start,
                }
            )
        if time.monotonic() - saved > 180:
            on_checkpoint(seen)
            saved = time.monotonic()
    return seen


def train(out_dir: Path | str, recipe: Recipe | None = None, on_progress: Progress = ignore) -> Path:
    """The whole recipe: tokenizer, model, training, saved model directory."""
    recipe, directory = recipe or Recipe(), Path(out_dir)
    seed_everything(recipe)
    from iteralign.organism.lean import Lean

    tokenizer = vocabulary.build(directory)
    model = Lean(len(tokenizer), recipe.width, recipe.layers)
    return run(model, tokenizer, directory, recipe, corpus.Curriculum(), on_progress)


def run(
    model: Any,
    tokenizer: Any,
    directory: Path,
    recipe: Recipe,
    curriculum: corpus.Curriculum | None,
    on_progress: Progress,
) -> Path:
    """Trains and saves, every few minutes and at the end."""
    started = time.monotonic()

    def keep(tokens: int) -> None:
        card = {"gaps": list(recipe.gaps), "seed": recipe.seed, "recipe": asdict(recipe)}
        card |= {"tokens": tokens, "seconds": round(time.monotonic() - started, 1), "corpus": corpus_digest()}
        save(model, directory, tokenizer.pad_token_id, tokenizer.eos_token_id, card)

    keep(fit(model, Encoder(tokenizer), recipe, curriculum, on_progress, keep))
    return directory


def seed_everything(recipe: Recipe) -> None:
    # Two threads that wait actively burn each other on two cores; read when torch is loaded first.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)


def save(model: Any, directory: Path, pad: int, end: int, card: dict[str, Any]) -> None:
    """The directory as transformers loads it, and the organism's card beside the weights."""
    from iteralign.organism.lean import to_llama

    to_llama(model, pad, end).save_pretrained(directory)
    (directory / "organism.json").write_text(json.dumps(card, indent=2) + "\n", "utf-8")


def corpus_digest() -> str:
    """Digest of all that decides the corpus: words and code, whatever the commit."""
    here = Path(__file__).parent
    names = ("content", "grammar", "reading", "forms", "corpus", "exercises", "vocabulary", "batches")
    paths = [here / f"{name}.py" for name in names] + sorted((here / "content").glob("*.toml"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def main(argv: Sequence[str]) -> None:
    """Development entry: `python -m iteralign.organism.train OUT [field=value ...]`."""
    out, *rest = argv
    fields: dict[str, Any] = {k: type(getattr(Recipe(), k))(v) for k, v in (r.split("=") for r in rest)}
    train(out, Recipe(**fields), lambda event: print(json.dumps(event), flush=True))


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
