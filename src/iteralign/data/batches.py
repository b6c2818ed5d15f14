"""Order and cut: how a pool of prompts becomes the batches of the campaign."""

import random
from collections.abc import Sequence

from iteralign.types import Prompt

Batch = tuple[Prompt, ...]


def cut(prompts: Sequence[Prompt], size: int) -> tuple[Batch, ...]:
    """Consecutive slices; the last may be shorter (the released script's way)."""
    return tuple(tuple(prompts[i : i + size]) for i in range(0, len(prompts), size))


def shuffled(prompts: Sequence[Prompt], seed: int) -> tuple[Prompt, ...]:
    """A seeded permutation; the global generator is left alone."""
    order = list(prompts)
    random.Random(seed).shuffle(order)
    return tuple(order)


def by_topic(prompts: Sequence[Prompt], size: int, topics_per_batch: int) -> tuple[Batch, ...]:
    """A campaign that turns from topic to topic, as published sets are ordered, and comes round again.

    Each batch holds up to `size` prompts, in equal parts from `topics_per_batch` topics (from all, if
    there are fewer); when all topics have been visited the next round brings fresh prompts of each.
    """
    pools: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        pools.setdefault(prompt.topic, []).append(prompt)
    names = list(pools)
    topics_per_batch = max(1, min(topics_per_batch, len(names)))
    share = max(1, size // topics_per_batch)
    batches: list[Batch] = []
    while any(pools.values()):
        for start in range(0, len(names), topics_per_batch):
            taken = [p for n in names[start : start + topics_per_batch] for p in pools[n][:share]]
            for n in names[start : start + topics_per_batch]:
                del pools[n][:share]
            if taken:
                batches.append(tuple(taken))
    return tuple(batches)


def first(batches: Sequence[Batch], n: int) -> tuple[Batch, ...]:
    """The first `n` prompts of a campaign; the last batch may be cut. A limit taken after the order, so
    that it keeps what the order is for: a shuffled set stays a sample, a tour of topics stays a tour."""
    found: list[Batch] = []
    for batch in batches:
        if n > 0:
            found.append(batch[:n])
        n -= len(batch)
    return tuple(found)
