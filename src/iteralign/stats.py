"""Intervals and paired tests. The mathematics is scipy's and statsmodels'; what is asked of it stands here."""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from iteralign.types import Rate

CONFIDENCE = 0.95
POWER = 0.8
RESAMPLES = 9_999


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % interval [low, high]."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Paired:
    """The same `n` items before and after: failures that were `closed`, are `still_open`, or are new (`regressed`).

    p_value: McNemar's exact test, two-sided, of the items that changed. difference: of the failure rates, after
    minus before, with a bootstrap interval over items. effect: Cohen's h of the two rates, below 0 if fewer fail.
    """

    n: int
    closed: int
    still_open: int
    regressed: int
    p_value: float
    difference: Interval
    effect: float


def rate(hits: int, n: int) -> Rate:
    """`hits` of `n` with the 95 % Wilson score interval; n = 0 knows nothing: [0, 1]."""
    if n == 0:
        return Rate(0, 0, 0.0, 0.0, 1.0)
    from scipy.stats import binomtest

    interval = binomtest(hits, n).proportion_ci(CONFIDENCE, method="wilson")
    return Rate(hits, n, hits / n, float(interval.low), float(interval.high))


def mean(values: Sequence[float], seed: int = 0) -> Interval:
    """The mean with its percentile bootstrap interval over items. Equal values give an interval without width,
    and no value gives NaN-free ignorance of a share: 0 in [0, 1]."""
    if not values:
        return Interval(0.0, 0.0, 1.0)
    average = math.fsum(values) / len(values)
    if min(values) == max(values):
        return Interval(average, average, average)
    import numpy as np
    from scipy.stats import bootstrap

    found = bootstrap(
        (np.asarray(values, dtype=float),),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        batch=max(1, 10_000_000 // len(values)),
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(average, float(found.low), float(found.high))


def clustered(items: Sequence[Sequence[float]]) -> Interval:
    """The mean of items that were measured several times, as by the runs of several seeds. One item's values belong
    together: the bootstrap resamples items, each with all its values, through its mean.

    Where every item is 0, or every one 1, a bootstrap has no width; Wilson's interval for that many items stands
    there, as if each had been measured once.
    """
    means = [math.fsum(values) / len(values) for values in items]
    found = mean(means)
    if means and min(means) == max(means) and found.value in (0.0, 1.0):
        wilson = rate(round(found.value) * len(means), len(means))
        return Interval(found.value, wilson.low, wilson.high)
    return found


def shift(items: Sequence[Sequence[float]]) -> Interval:
    """The mean of differences of shares, -1 to 1, by item as in `clustered`.

    Where every item changed alike, or none did, Wilson's bound on what so many items can hide stands there.
    """
    means = [math.fsum(values) / len(values) for values in items]
    found = mean(means)
    if not means or min(means) != max(means) or found.value not in (-1.0, 0.0, 1.0):
        return found
    hidden = rate(0, len(means)).high
    return Interval(found.value, max(-1.0, found.value - hidden), min(1.0, found.value + hidden))


def paired(before: Sequence[bool], after: Sequence[bool]) -> Paired:
    """What became of the same items; True is a failure."""
    pairs = list(zip(before, after, strict=True))
    closed, opened = pairs.count((True, False)), pairs.count((False, True))
    still = pairs.count((True, True))
    n = len(pairs)
    return Paired(
        n,
        closed,
        still,
        opened,
        mcnemar(closed, opened),
        mean([float(b) - float(a) for a, b in pairs]) if n else Interval(0.0, -1.0, 1.0),
        effect((still + opened) / n, (still + closed) / n) if n else 0.0,
    )


def mcnemar(closed: int, opened: int) -> float:
    """McNemar's exact p-value, two-sided. Only the items that changed count; where none did, nothing speaks for a
    difference."""
    if not closed + opened:
        return 1.0
    from statsmodels.stats.contingency_tables import mcnemar

    return float(min(1.0, mcnemar([[0, closed], [opened, 0]], exact=True).pvalue))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted for having looked at all of them (Holm), in order."""
    if not p_values:
        return []
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(list(p_values), method="holm")[1]]


def effect(share: float, reference: float) -> float:
    """Cohen's h: 0.2 is called small, 0.5 medium, 0.8 large (Cohen 1988)."""
    from statsmodels.stats.proportion import proportion_effectsize

    return float(proportion_effectsize(share, reference))


def sign_test(wins: int, losses: int) -> float:
    """The p-value of `wins` against `losses` if both were equally likely; ties say nothing."""
    if not wins + losses:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(wins, wins + losses).pvalue)


def kappa(table: Sequence[Sequence[int]]) -> Interval:
    """Cohen's kappa of two raters from their square table of counts, with its asymptotic interval.

    Where both give one and the same label to everything, chance explains all and kappa is 0 in [-1, 1].
    """
    import numpy as np
    from statsmodels.stats.inter_rater import cohens_kappa

    n = sum(map(sum, table))
    if not n or any(table[i][i] == n for i in range(len(table))):
        return Interval(0.0, -1.0, 1.0)
    with np.errstate(
        invalid="ignore", divide="ignore"
    ):  # its test statistic, not used, where a rater is constant
        found = cohens_kappa(table)
    return Interval(float(found.kappa), float(found.kappa_low), float(found.kappa_upp))


def fleiss(items: Sequence[Sequence[Hashable]]) -> float | None:
    """Fleiss' kappa of the labels that the same number of raters give to each item: 1 is agreement, 0 is what chance
    gives. None where it says nothing: fewer than two raters, or one label everywhere.

    J. L. Fleiss, Measuring nominal scale agreement among many raters, Psychological Bulletin 76 (1971).
    """
    labels = list(dict.fromkeys(label for labels in items for label in labels))
    if len(labels) < 2 or len(items[0]) < 2:
        return None
    from statsmodels.stats.inter_rater import fleiss_kappa

    counts = [Counter(given) for given in items]
    return float(fleiss_kappa([[count[label] for label in labels] for count in counts]))


def detectable(n: int, share: float) -> float:
    """The smallest difference from `share` (absolute, 0 to 1) that two samples of `n` each would show at the
    5 % level in 80 % of cases; towards the middle, where there is room. Pairing the items needs less.
    """
    if n == 0:
        return 1.0
    from statsmodels.stats.power import NormalIndPower

    h = float(NormalIndPower().solve_power(nobs1=n, alpha=1 - CONFIDENCE, power=POWER, ratio=1.0))
    angle = math.asin(math.sqrt(min(share, 1 - share))) + abs(h) / 2
    other = math.sin(min(angle, math.pi / 2)) ** 2
    return other - min(share, 1 - share)
