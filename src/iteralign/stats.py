"""Intervals for shares. The mathematics is scipy's."""

from iteralign.types import Rate

CONFIDENCE = 0.95


def rate(hits: int, n: int) -> Rate:
    """`hits` of `n` with the 95 % Wilson score interval; n = 0 knows nothing: [0, 1]."""
    if n == 0:
        return Rate(0, 0, 0.0, 0.0, 1.0)
    from scipy.stats import binomtest

    interval = binomtest(hits, n).proportion_ci(CONFIDENCE, method="wilson")
    return Rate(hits, n, hits / n, float(interval.low), float(interval.high))
