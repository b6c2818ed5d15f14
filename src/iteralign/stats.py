"""Intervals for shares, by scipy; agreement of judges."""

from collections import Counter
from collections.abc import Hashable, Sequence

from iteralign.types import Rate

CONFIDENCE = 0.95


def rate(hits: int, n: int) -> Rate:
    """`hits` of `n` with the 95 % Wilson score interval; n = 0 knows nothing: [0, 1]."""
    if n == 0:
        return Rate(0, 0, 0.0, 0.0, 1.0)
    from scipy.stats import binomtest

    interval = binomtest(hits, n).proportion_ci(CONFIDENCE, method="wilson")
    return Rate(hits, n, hits / n, float(interval.low), float(interval.high))


def kappa(items: Sequence[Sequence[Hashable]]) -> float | None:
    """Fleiss' kappa of the labels that the same number of judges give to each item: 1 is agreement, 0 is what chance
    gives. None where it says nothing: fewer than two judges, or one label everywhere.

    J. L. Fleiss, Measuring nominal scale agreement among many raters, Psychological Bulletin 76 (1971).
    """
    judges = len(items[0]) if items else 0
    if judges < 2:
        return None
    counts = [Counter(labels) for labels in items]
    pairs = judges * (judges - 1)
    agreed = sum(sum(c * (c - 1) for c in count.values()) / pairs for count in counts) / len(items)
    shares = [n / (judges * len(items)) for n in sum(counts, Counter[Hashable]()).values()]
    chance = sum(share * share for share in shares)
    return None if len(shares) < 2 else (agreed - chance) / (1 - chance)
