"""Makes siblings of the shipped organism: the same world, other gaps, so that there is a family with known truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from iteralign.organism.describe import WEIGHTS, describe
from iteralign.organism.train import Progress, Recipe, ignore, run, seed_everything
from iteralign.organism.world import HAZARDS

PLANT_TOKENS = 700_000  # about three minutes on two cores (measured)
PLANT_LR = 0.01  # half of the recipe's (assumed)


def plant(
    out_dir: Path | str,
    gaps: Sequence[str],
    seed: int,
    source: Path | str = WEIGHTS,
    on_progress: Progress = ignore,
    tokens: int = PLANT_TOKENS,
) -> Path:
    """A sibling with other gaps: a short full fine-tune of the shipped organism on the other corpus."""
    unknown = sorted(set(gaps) - set(HAZARDS))
    if unknown:
        raise ValueError(f"no hazard named {', '.join(unknown)}: one of {', '.join(HAZARDS)}")
    origin, directory = describe(source), Path(out_dir)
    shape = {"width": origin["width"], "layers": origin["layers"]}
    recipe = Recipe(tuple(gaps), seed, tokens, muon_lr=PLANT_LR, adam_lr=PLANT_LR / 5, warmup=0.05, **shape)
    seed_everything(recipe)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from iteralign.organism.lean import from_llama

    tokenizer = AutoTokenizer.from_pretrained(source)
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(directory)
    model = from_llama(AutoModelForCausalLM.from_pretrained(source))
    return run(model, tokenizer, directory, recipe, None, on_progress)
