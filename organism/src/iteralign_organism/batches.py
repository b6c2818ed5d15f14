"""Documents as padded batches of token ids, with the positions on which the loss is taken.

Rows are whole documents, never packed: the principles of a neighbour must not be visible. Documents of like
length go together; padding is on the right, where causal attention never looks.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from iteralign_organism.forms import Turn
from iteralign_organism.vocabulary import END, ROLES

POOL = 96  # documents that are sorted by length together
OPENER = 2.0  # extra weight of a reply's first token, which decides between good and bad (assumed)
Hints = list[tuple[int, int]]  # (position, token)
Row = tuple[list[int], list[float], Hints]  # ids of a document, weight of each in the loss, hints


def round_up(length: int) -> int:
    """Few different shapes: the CPU's matrix kernels are compiled and cached for each of them."""
    return -(-length // 32) * 32


@dataclass(frozen=True)
class Batch:
    """`ids` [rows, length] and, for every learned token, its flat position's predecessor and its id."""

    ids: list[list[int]]
    positions: list[int]  # flat index of the token BEFORE a learned one
    targets: list[int]
    weights: list[float]
    hint_positions: list[int]  # flat, with the token that the middle layer shall know there
    hint_targets: list[int]

    @property
    def tokens(self) -> int:
        return len(self.ids) * len(self.ids[0])


class Encoder:
    """Turns documents into ids and a learned mask, caching the texts that come again and again."""

    def __init__(self, tokenizer: Any) -> None:
        self.text_ids = lru_cache(maxsize=50_000)(lambda text: tuple(tokenizer(text)["input_ids"]))
        self.role_ids = {role: tokenizer.convert_tokens_to_ids(token) for role, token in ROLES.items()}
        self.end = tokenizer.convert_tokens_to_ids(END)
        self.pad = tokenizer.pad_token_id

    def document(self, turns: list[Turn]) -> Row:
        ids: list[int] = []
        weights: list[float] = []
        hints: Hints = []
        for turn in turns:
            ids.append(self.role_ids[turn.role])
            start = len(ids)
            at = 0
            for end, words in turn.hints:
                ids += self.text_ids(turn.text[at:end])
                hints += [(len(ids) - 1, self.text_ids(f" {word}")[0]) for word in words]
                at = end
            ids += [*self.text_ids(turn.text[at:]), self.end]
            weight = turn.weight if turn.learn else 0.0
            weights += [0.0, weight * OPENER, *([weight] * (len(ids) - start - 1))]
        return ids, weights, hints

    def batch(self, rows: list[Row]) -> Batch:
        width = round_up(max(len(ids) for ids, *_ in rows))
        positions: list[int] = []
        targets: list[int] = []
        weights: list[float] = []
        hints: Hints = []
        for r, (ids, row_weights, row_hints) in enumerate(rows):
            hints += [(r * width + i, token) for i, token in row_hints]
            for i, weight in enumerate(row_weights):
                if weight:
                    positions.append(r * width + i - 1)
                    targets.append(ids[i])
                    weights.append(weight)
        missing = -len(positions) % 128
        positions, targets, weights = (
            positions + [0] * missing,
            targets + [0] * missing,
            weights + [0.0] * missing,
        )
        return Batch(
            [ids + [self.pad] * (width - len(ids)) for ids, *_ in rows],
            positions,
            targets,
            weights,
            [i for i, _ in hints],
            [t for _, t in hints],
        )


def batches(documents: Iterator[list[Turn]], encoder: Encoder, tokens: int, seed: int) -> Iterator[Batch]:
    """Batches of about `tokens` padded tokens, without end."""
    rng = random.Random(f"batches/{seed}")
    while True:
        pool = sorted((encoder.document(next(documents)) for _ in range(POOL)), key=lambda row: len(row[0]))
        made: list[Batch] = []
        rows: list[Row] = []
        for row in pool:
            if rows and (len(rows) + 1) * round_up(len(row[0])) > tokens:
                made.append(encoder.batch(rows))
                rows = []
            rows.append(row)
        made.append(encoder.batch(rows))
        rng.shuffle(made)
        yield from made
