"""Makes siblings of the shipped organism: the same world, other gaps, so that there is a family with known truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from iteralign.organism.describe import WEIGHTS, describe
from iteralign.organism.world import HAZARDS
from iteralign_organism.recipe import Recipe
from iteralign_organism.train import run, seed_everything

if TYPE_CHECKING:
    from iteralign_organism.fit import Progress

PLANT_TOKENS = 1_500_000  # 10 to 17 minutes on one busy core (measured)


def plant(
    out_dir: Path | str,
    gaps: Sequence[str],
    seed: int,
    source: Path | str = WEIGHTS,
    on_progress: Progress | None = None,
    tokens: int = PLANT_TOKENS,
) -> Path:
    """A sibling with other gaps: a short training of the shipped organism in mixed states of the other world."""
    unknown = sorted(set(gaps) - set(HAZARDS))
    if unknown:
        raise ValueError(f"no hazard named {', '.join(unknown)}: one of {', '.join(HAZARDS)}")
    origin, directory = describe(source), Path(out_dir)
    recipe = Recipe(
        gaps=tuple(gaps),
        seed=seed,
        tokens=0,
        mixed_tokens=tokens,
        width=origin["width"],
        layers=origin["layers"],
    )
    seed_everything(recipe)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from iteralign_organism.lean import from_llama

    tokenizer = AutoTokenizer.from_pretrained(source)
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(directory)
    model = from_llama(AutoModelForCausalLM.from_pretrained(source))
    return run(model, tokenizer, directory, recipe, on_progress, before=int(origin["tokens"]))
