"""Trains the organism from scratch: a small Llama on the world's conversations, then in mixed states."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iteralign.organism import describe
from iteralign_organism import corpus, vocabulary
from iteralign_organism.batches import Batch, Encoder, batches
from iteralign_organism.recipe import Recipe

if TYPE_CHECKING:
    from iteralign_organism.fit import Progress


class Lessons:
    """The corpus under its curriculum, under the weights as they are."""

    def __init__(self, encoder: Encoder, recipe: Recipe) -> None:
        self.encoder, self.recipe, self.curriculum = encoder, recipe, corpus.Curriculum()

    def batches(self) -> Iterable[Batch]:
        documents = corpus.stream(self.recipe.gaps, self.recipe.seed, self.curriculum)
        return batches(documents, self.encoder, self.recipe.batch_tokens, self.recipe.seed)

    def weights(self) -> AbstractContextManager[None]:
        return nullcontext()

    def progressed(self, progress: float) -> None:
        self.curriculum.update(progress)


def train(out_dir: Path | str, recipe: Recipe | None = None, on_progress: Progress | None = None) -> Path:
    """The whole recipe: tokenizer, model, both parts of the training, saved model directory."""
    recipe, directory = recipe or Recipe(), Path(out_dir)
    seed_everything(recipe)
    from iteralign_organism.lean import Lean

    tokenizer = vocabulary.build(directory)
    return run(Lean(len(tokenizer), recipe.width, recipe.layers), tokenizer, directory, recipe, on_progress)


def run(
    model: Any,
    tokenizer: Any,
    directory: Path,
    recipe: Recipe,
    on_progress: Progress | None = None,
    before: int = 0,
) -> Path:
    """The parts of a recipe that have tokens; saves every few minutes and at the end. `before`: tokens that the
    model has seen already."""
    from iteralign_organism.fit import fit, ignore
    from iteralign_organism.mixed import States

    on_progress = on_progress or ignore
    started, encoder, digest = time.monotonic(), Encoder(tokenizer), corpus_digest()

    def keep(tokens: int) -> None:
        card = {"gaps": list(recipe.gaps), "seed": recipe.seed, "recipe": asdict(recipe), "tokens": tokens}
        card |= {"seconds": round(time.monotonic() - started, 1), "corpus": digest}
        save(model, directory, tokenizer.pad_token_id, tokenizer.eos_token_id, card)

    seen = before
    if recipe.tokens:
        seen += fit(model, Lessons(encoder, recipe), recipe.first, recipe.weight_decay, on_progress, keep)
    first = seen
    if recipe.mixed_tokens:
        states = States(model, encoder, recipe)
        seen += fit(model, states, recipe.mixed, recipe.weight_decay, on_progress, lambda t: keep(first + t))
    keep(seen)
    return directory


def seed_everything(recipe: Recipe) -> None:
    # Two threads that wait actively burn each other on two cores; read when torch is loaded first.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)


def save(model: Any, directory: Path, pad: int, end: int, card: dict[str, Any]) -> None:
    """The directory as transformers loads it, and the organism's card beside the weights."""
    from iteralign_organism.lean import to_llama

    to_llama(model, pad, end).save_pretrained(directory)
    (directory / "organism.json").write_text(json.dumps(card, indent=2) + "\n", "utf-8")


def corpus_digest() -> str:
    """Digest of all that decides the corpus: words and code, whatever the commit."""
    here, world = Path(__file__).parent, Path(describe.__file__).parent
    paths = [world / f"{name}.py" for name in ("content", "grammar", "reading")]
    paths += [here / f"{name}.py" for name in ("forms", "corpus", "exercises", "vocabulary", "batches")]
    paths += sorted((world / "content").glob("*.toml"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def main(argv: Sequence[str]) -> None:
    """Development entry: `python -m iteralign_organism.train OUT [field=value ...]`."""
    out, *rest = argv
    fields: dict[str, Any] = {k: type(getattr(Recipe(), k))(v) for k, v in (r.split("=") for r in rest)}
    train(out, Recipe(**fields), lambda event: print(json.dumps(event), flush=True))


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
