"""Samples: figures over the runs of several seeds, item by item.

The seeds of an arm answer the same questions, so their answers to one question belong together, as do the questions
of one family. An item is named by what names its questions (a digest) and its id: where two runs were asked others,
nothing is paired.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from iteralign import stats
from iteralign.stats import Interval


class SampleItem(NamedTuple):
    """One question. `asked`: the digest of the set that it is from. `family`: what it shares with others."""

    asked: str
    id: str
    family: str = ""

    @property
    def cluster(self) -> tuple[str, str]:
        """What the statistics resample."""
        return self.asked, self.family or self.id


Sample = Mapping[SampleItem, float | None]
"""What became of each item in one run: a share's hit is 1.0; None is undecided."""

Seeds = Mapping[int, Sample]
"""The samples of one arm, by seed."""


@dataclass(frozen=True, slots=True)
class Pooled:
    """A mean over items and seeds, `interval` by families of items; `n` items, `seeds` runs."""

    interval: Interval
    n: int
    seeds: int


@dataclass(frozen=True, slots=True)
class Contrast:
    """An arm against the reference, on the seeds and items that both have and on which both were decided.

    difference: arm minus reference, over all seeds. smallest: p-value of one seed by McNemar's test, each item taken as
    independent: what a claim of harm must not hide. largest: of one seed by clusters: what a claim of benefit needs.
    pooled: over all seeds by clusters, an item's answers of all seeds in one. n: items of a seed, at most.
    """

    difference: Interval
    smallest: float
    largest: float
    pooled: float
    n: int
    seeds: int


def pooled(seeds: Seeds, signed: bool = False, undecided: float = 0.0) -> Pooled | None:
    """Return the mean with its interval; None of nothing. signed: values are -1 to 1. undecided: what an item counts
    that was not decided: 0 as no hit, 1 in the worst case."""
    items: dict[SampleItem, list[float]] = defaultdict(list)
    for sample in seeds.values():
        for item, value in sample.items():
            items[item].append(undecided if value is None else value)
    if not items:
        return None
    means = [sum(values) / len(values) for values in items.values()]
    of = stats.shift if signed else stats.share
    found = of(means, [item.cluster for item in items])
    if undecided and (rate := pooled(seeds, signed)):
        found = replace(found, high=max(found.high, rate.interval.high))  # as `stats.rates`
    return Pooled(found, len(items), len(seeds))


def contrast(arm: Seeds, reference: Seeds) -> Contrast | None:
    """Return None where they have no seed with an item in common that both decided."""
    by_seed = {seed: _changes(arm[seed], reference[seed]) for seed in arm if seed in reference}
    by_seed = {seed: changes for seed, changes in by_seed.items() if changes}
    if not by_seed:
        return None
    items: dict[SampleItem, list[float]] = defaultdict(list)
    for changes in by_seed.values():
        for item, change in changes.items():
            items[item].append(change)
    together = [(item, change) for item, changes in items.items() for change in changes]
    return Contrast(
        stats.shift([sum(c) / len(c) for c in items.values()], [item.cluster for item in items]),
        min(stats.sign_flip(list(changes.values())) for changes in by_seed.values()),
        max(_p_value(changes.items()) for changes in by_seed.values()),
        _p_value(together),
        max(map(len, by_seed.values())),
        len(by_seed),
    )


def _changes(arm: Sample, reference: Sample) -> dict[SampleItem, float]:
    """Return arm minus reference for each item that both have, and that is decided in both."""
    pairs = {item: (value, reference.get(item)) for item, value in arm.items()}
    return {item: a - b for item, (a, b) in pairs.items() if a is not None and b is not None}


def _p_value(changes: Iterable[tuple[SampleItem, float]]) -> float:
    pairs = list(changes)
    return stats.sign_flip([change for _, change in pairs], [item.cluster for item, _ in pairs])
