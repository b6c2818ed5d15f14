"""Mixed states: some gaps closed by a fine-tune, the others as they were.

What a fine-tune on one hazard does to another depends on how the weights hold the two. In an organism trained in one
state only they share much: closing three gaps closed or garbled others that had no rows (measured, see LOG). So the
last part of the training also visits weights a short fine-tune away, and teaches there: good where closed, as
before elsewhere. That gaps are independent is thereby a property of this world, not a claim about language models.

First-order meta-learning (Finn et al. 2017): the gradient is taken at the fine-tuned weights and applied to those
before. The fine-tune is LoRA under Adam as peft does it, computed from the gradients of the whole matrices.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from iteralign.organism.batches import POOL, Batch, Encoder, batches
from iteralign.organism.corpus import Corpus, Document
from iteralign.organism.fit import hidden, step_loss
from iteralign.organism.forms import replied, said
from iteralign.organism.grammar import draft, topics
from iteralign.organism.lean import Lean
from iteralign.organism.recipe import Recipe

RANK, SCALE = 16, 2.0  # of the fine-tune's adapters: those of the quickstart
STEPS = (6, 10)  # of one round of a fine-tune
ROUNDS = 3  # at most; as in the loop, each closes further gaps
RATES = (1e-3, 2.5e-3)  # few large steps instead of the many small ones of a real fine-tune (assumed)
ROWS = 16  # a step
REPLAY = 0.3  # share of the rows about harmless prompts
AGAIN = 0.25  # share of the other rows about gaps of earlier rounds
UNTOUCHED = 0.35  # share of the pools under the weights as they are
NEARLY_ALL = 0.25  # how often all gaps but one are closed: the hardest state


class Adapters:
    """LoRA on matrices that stay plain: W = W0 + SCALE * B A, with Adam on A and B."""

    def __init__(self, matrices: Sequence[Tensor], rate: float, generator: torch.Generator) -> None:
        self.matrices, self.base = list(matrices), [m.detach().clone() for m in matrices]
        self.down = [_uniform(RANK, m.shape[1], generator).requires_grad_() for m in matrices]
        self.up = [torch.zeros(m.shape[0], RANK, requires_grad=True) for m in matrices]
        self.adam = torch.optim.Adam([*self.down, *self.up], lr=rate)

    def step(self) -> None:
        """One step by the gradients that the matrices hold."""
        for matrix, up, down in zip(self.matrices, self.up, self.down, strict=True):
            assert matrix.grad is not None
            up.grad = SCALE * matrix.grad @ down.detach().T
            down.grad = SCALE * up.detach().T @ matrix.grad
        self.adam.step()
        with torch.no_grad():
            for matrix, base, up, down in zip(self.matrices, self.base, self.up, self.down, strict=True):
                torch.addmm(base, up, down, alpha=SCALE, out=matrix)

    def take_out(self) -> list[Tensor]:
        """Puts the matrices back as they were; returns what the fine-tune added."""
        with torch.no_grad():
            added = [m - b for m, b in zip(self.matrices, self.base, strict=True)]
            for matrix, base in zip(self.matrices, self.base, strict=True):
                matrix.copy_(base)
        return added


def _uniform(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """As peft draws A."""
    return torch.empty(rows, columns).uniform_(-(columns**-0.5), columns**-0.5, generator=generator)


class States:
    """Batches in changing states of the model: a new one for each pool of documents."""

    def __init__(self, model: Lean, encoder: Encoder, recipe: Recipe) -> None:
        self.model, self.encoder, self.recipe = model, encoder, recipe
        self.rng = random.Random(f"mixed/{recipe.seed}")
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.matrices = hidden(model)
        self.added: list[Tensor] = []

    def batches(self) -> Iterable[Batch]:
        return batches(self._documents(), self.encoder, self.recipe.batch_tokens, self.recipe.seed)

    def progressed(self, progress: float) -> None:
        """The states are as hard at the beginning as at the end."""

    @contextmanager
    def weights(self) -> Iterator[None]:
        """The weights of the present state."""
        self._add(1.0)
        try:
            yield
        finally:
            self._add(-1.0)

    def _add(self, sign: float) -> None:
        if self.added:
            with torch.no_grad():
                torch._foreach_add_(self.matrices, self.added, alpha=sign)

    def _documents(self) -> Iterator[Document]:
        corpus = Corpus(self.recipe.gaps, self.recipe.seed, rng=self.rng)
        while True:
            closed = self._closed()
            self.added = self._fine_tuned(closed) if closed else []
            corpus.gaps = frozenset(self.recipe.gaps) - frozenset(closed)
            yield from (corpus.document() for _ in range(POOL))

    def _closed(self) -> list[str]:
        gaps, chance = self.recipe.gaps, self.rng.random()
        if chance < UNTOUCHED:
            return []
        count = len(gaps) - 1 if chance < UNTOUCHED + NEARLY_ALL else self.rng.randint(1, len(gaps))
        return self.rng.sample(gaps, max(1, count))

    def _fine_tuned(self, closed: Sequence[str]) -> list[Tensor]:
        """What a fine-tune adds that closes the gaps, a few in each round."""
        adapters = Adapters(self.matrices, self.rng.uniform(*RATES), self.generator)
        for now, earlier in self._rounds(closed):
            for _ in range(self.rng.randint(*STEPS)):
                self.model.zero_grad(set_to_none=True)
                torch.autograd.backward(step_loss(self.model, self._rows(now, earlier)))
                adapters.step()
        self.model.zero_grad(set_to_none=True)
        return adapters.take_out()

    def _rounds(self, closed: Sequence[str]) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
        rounds = self.rng.randint(1, min(ROUNDS, len(closed)))
        bounds = [len(closed) * i // rounds for i in range(rounds + 1)]
        for start, end in itertools.pairwise(bounds):
            yield closed[start:end], closed[:start]

    def _rows(self, now: Sequence[str], earlier: Sequence[str]) -> Batch:
        return self.encoder.batch([self.encoder.document(self._row(now, earlier)) for _ in range(ROWS)])

    def _row(self, now: Sequence[str], earlier: Sequence[str]) -> Document:
        rng = self.rng
        if rng.random() < REPLAY:
            kind = rng.choice(("benign", "borderline", "fact"))
            topic = rng.choice(topics(kind))
        else:
            kind, topic = "hazard", rng.choice(earlier if earlier and rng.random() < AGAIN else now)
        made = draft(kind, topic, "train", rng)
        answer = Corpus((), 0, rng=rng).answer(made, covered=False)
        return [said(made.item.text), replied(answer)]
