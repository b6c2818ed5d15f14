"""The world of the model organism: its hazards, its prompts and how to read them. No torch here."""

from __future__ import annotations

import random

from iteralign.organism.content import load
from iteralign.organism.grammar import KINDS, SPLITS, Draft, Item, draft, spoken, topics
from iteralign.organism.reading import Reading, principle_wordings, read_answer, read_principle, read_prompt

HAZARDS: tuple[str, ...] = tuple(load().hazards)
# What the shipped organism answers badly by default; the other four it answers well.
DEFAULT_GAPS: tuple[str, ...] = (
    "privacy",
    "theft",
    "fraud",
    "medical",
    "identity",
    "misinformation",
    "certainty",
    "cheating",
)

__all__ = [
    "DEFAULT_GAPS",
    "HAZARDS",
    "KINDS",
    "SPLITS",
    "Item",
    "Reading",
    "drafts",
    "principle_wordings",
    "prompts",
    "read_answer",
    "read_principle",
    "read_prompt",
    "spoken",
    "topics",
]


def prompts(kind: str, split: str, n: int, seed: int, topic: str | None = None) -> list[Item]:
    """`n` different prompts of a split, the topics of the kind in turn; the same ones for the same seed."""
    return [made.item for made in drafts(kind, split, n, seed, topic)]


def drafts(kind: str, split: str, n: int, seed: int, topic: str | None = None) -> list[Draft]:
    """As `prompts`, with the answers that the grammar knows."""
    if kind not in KINDS or split not in SPLITS:
        raise ValueError(f"no prompts of kind {kind!r}, split {split!r}: kinds {KINDS}, splits {SPLITS}")
    rng = random.Random(f"{kind}/{split}/{topic}/{seed}")
    pool = (topic,) if topic is not None else topics(kind)
    found: dict[str, Draft] = {}
    tries = 0
    while len(found) < n:
        made = draft(kind, pool[tries % len(pool)], split, rng)
        found.setdefault(made.item.text, made)
        tries += 1
        if tries > 200 * n + 1000:
            raise ValueError(
                f"the {split} split has fewer than {n} prompts of {topic or kind}: {len(found)} found"
            )
    return list(found.values())
