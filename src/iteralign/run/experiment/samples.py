"""Samples: figures over the runs of several seeds, item by item.

The seeds of an arm answer the same questions, so their answers to one question belong together. An item is named by
what names its questions (a digest) and its id: where two runs were asked others, nothing is paired.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from iteralign import stats
from iteralign.stats import Interval

Item = tuple[str, str]
Sample = Mapping[Item, float]
"""What became of each item in one run: a share's hit is 1.0."""

Seeds = Mapping[int, Sample]
"""The samples of one arm, by seed."""


@dataclass(frozen=True, slots=True)
class Pooled:
    """A mean over items and seeds, `interval` from the bootstrap over items; `n` items, `seeds` runs."""

    interval: Interval
    n: int
    seeds: int


@dataclass(frozen=True, slots=True)
class Contrast:
    """An arm against the reference, on the seeds and items that both have. difference: arm minus reference, pooled
    over the seeds. p_value: the largest of McNemar's over the seeds, each paired by item. n: items of a seed, at most.
    """

    difference: Interval
    p_value: float
    n: int
    seeds: int


def pooled(seeds: Seeds, signed: bool = False) -> Pooled | None:
    """The mean with its interval; None of nothing. signed: values are -1 to 1."""
    items = _by_item(seeds.values())
    if not items:
        return None
    of = stats.shift if signed else stats.clustered
    return Pooled(of(list(items.values())), len(items), len(seeds))


def contrast(arm: Seeds, reference: Seeds) -> Contrast | None:
    """None where they have no seed with an item in common."""
    pairs = {s: _paired(arm[s], reference[s]) for s in arm if s in reference}
    pairs = {seed: found for seed, found in pairs.items() if found}
    if not pairs:
        return None
    gaps = [{item: a - b for item, (a, b) in found.items()} for found in pairs.values()]
    items = _by_item(gaps)
    return Contrast(
        stats.shift(list(items.values())),
        max(_p_value(list(found.values())) for found in pairs.values()),
        max(map(len, pairs.values())),
        len(pairs),
    )


def _paired(arm: Sample, reference: Sample) -> dict[Item, tuple[float, float]]:
    return {item: (arm[item], reference[item]) for item in arm if item in reference}


def _p_value(pairs: Sequence[tuple[float, float]]) -> float:
    more, fewer = (sum(p == change for p in pairs) for change in ((1.0, 0.0), (0.0, 1.0)))
    return stats.mcnemar(fewer, more)


def _by_item(samples: Iterable[Sample]) -> dict[Item, list[float]]:
    items: dict[Item, list[float]] = defaultdict(list)
    for sample in samples:
        for item, value in sample.items():
            items[item].append(value)
    return dict(items)
