"""Mixed states: some gaps closed by a fine-tune, the others as they were.

What a fine-tune on one hazard does to another depends on how the weights hold the two. In an organism trained in one
state only they share much: closing three gaps closed or garbled others that had no rows (measured, see LOG). So the
last part of the training walks as the loop does, round by round away from the weights as they are, and teaches
in every state: good where closed, as before elsewhere. That gaps are independent is thereby a property of this
world, not a claim about language models.

First-order meta-learning (Finn et al. 2017): the gradient is taken at the fine-tuned weights and applied to those
before. The fine-tune is LoRA under Adam as peft does it, computed from the gradients of the whole matrices.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from iteralign.organism.grammar import draft, topics
from iteralign_organism.batches import POOL, Batch, Encoder, Row, batches
from iteralign_organism.corpus import Corpus, Document
from iteralign_organism.fit import hidden, step_loss
from iteralign_organism.forms import replied, said
from iteralign_organism.lean import Lean
from iteralign_organism.recipe import Recipe

RANK, SCALE = 16, 2.0  # of the fine-tune's adapters: those of the quickstart
ROUNDS = 4  # of one fine-tune at most; as in the loop, each closes further gaps
STEPS = (12, 64)  # of a round; the shorter, the more frequent
RATES = (8e-4, 2.5e-3)  # at the start of a round: fewer and larger steps than in the loop, which move as far
BATCH = 16  # rows a step
ROWS = 20  # about each closed gap, seen again and again
HARMLESS = (0.4, 0.7)  # share of the rows about harmless prompts
NEARLY_ALL = 0.5  # how often all gaps but one are closed at the end: the hardest state


class Adapters:
    """LoRA on matrices that stay plain: W = W0 + SCALE * B A."""

    def __init__(self, matrices: Sequence[Tensor], generator: torch.Generator) -> None:
        self.matrices = list(matrices)
        self.down = [_uniform(RANK, m.shape[1], generator).requires_grad_() for m in matrices]
        self.up = [torch.zeros(m.shape[0], RANK, requires_grad=True) for m in matrices]

    def train(self, losses: Iterable[Tensor], steps: int, rate: float) -> None:
        """One round: Adam on A and B, the rate falling to nothing. W0 is then as it was."""
        adam = torch.optim.Adam([*self.down, *self.up], lr=rate)
        falling = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.0, steps)
        plain = [m.detach().clone() for m in self.matrices]
        self._put_on(plain)
        for loss in itertools.islice(losses, steps):
            torch.autograd.backward(loss)
            self._gradients()
            adam.step()
            falling.step()
            self._put_on(plain)
        with torch.no_grad():
            torch._foreach_copy_(self.matrices, plain)

    def added(self) -> list[Tensor]:
        """What they add to the matrices."""
        with torch.no_grad():
            return [SCALE * up @ down for up, down in zip(self.up, self.down, strict=True)]

    def _put_on(self, plain: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for matrix, base, up, down in zip(self.matrices, plain, self.up, self.down, strict=True):
                torch.addmm(base, up, down, alpha=SCALE, out=matrix)

    def _gradients(self) -> None:
        """Those of A and B, from those that the matrices hold."""
        for matrix, up, down in zip(self.matrices, self.up, self.down, strict=True):
            assert matrix.grad is not None
            up.grad = SCALE * matrix.grad @ down.detach().T
            down.grad = SCALE * up.detach().T @ matrix.grad
            matrix.grad = None


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
            for closed, added in self._walk():
                self.added = added
                corpus.gaps = frozenset(self.recipe.gaps) - frozenset(closed)
                yield from (corpus.document() for _ in range(POOL))

    def _walk(self) -> Iterator[tuple[Sequence[str], list[Tensor]]]:
        """The states of one fine-tune: as it is, then after each round, with the gaps that are closed by then."""
        yield (), []
        order, adapters = self._order(), Adapters(self.matrices, self.generator)
        rounds = self.rng.randint(1, min(ROUNDS, len(order)))
        for t in range(1, rounds + 1):
            closed = order[: len(order) * t // rounds]
            rows = self._rows(closed)
            adapters.train(self._losses(rows), self._steps(), self.rng.uniform(*RATES))
            self.model.zero_grad(set_to_none=True)
            yield closed, adapters.added()

    def _order(self) -> list[str]:
        """The gaps that a fine-tune closes, one after another."""
        gaps = self.recipe.gaps
        count = len(gaps) - 1 if self.rng.random() < NEARLY_ALL else self.rng.randint(1, len(gaps))
        return self.rng.sample(gaps, max(1, count))

    def _steps(self) -> int:
        """Of one round: log-uniform."""
        shortest, longest = STEPS
        return round(math.exp(self.rng.uniform(math.log(shortest), math.log(longest))))

    def _losses(self, rows: Sequence[Row]) -> Iterator[Tensor]:
        while True:
            batch = self.encoder.batch(self.rng.sample(rows, min(BATCH, len(rows))))
            yield step_loss(self.model, batch)

    def _rows(self, closed: Sequence[str]) -> list[Row]:
        """A good answer to each of some prompts of the closed gaps, and to harmless ones."""
        hazards = [("hazard", topic) for topic in closed for _ in range(ROWS)]
        share = self.rng.uniform(*HARMLESS)
        kinds = self.rng.choices(
            ("benign", "borderline", "fact"), k=round(len(hazards) * share / (1 - share))
        )
        harmless = [(kind, self.rng.choice(topics(kind))) for kind in kinds]
        return [self.encoder.document(self._row(kind, topic)) for kind, topic in hazards + harmless]

    def _row(self, kind: str, topic: str) -> Document:
        made = draft(kind, topic, "train", self.rng)
        answer = Corpus((), 0, rng=self.rng).answer(made, covered=False)
        return [said(made.item.text), replied(answer)]
