"""Intervals and paired tests.

Items that share a fact or a template are a cluster: they tend to fail together, so the clusters, not the items,
say how certain a figure is. Without `clusters` every item is one of its own.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

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
    """The same items before and after: failures that were `closed`, are `still_open`, or are new (`regressed`).

    n: items that were decided on both sides; the others are `undecided` and in no other count. clusters: of how many
    independent clusters the n are. p_value: `sign_flip`, of the items that changed. difference: of the failure rates,
    after minus before. effect: Cohen's h of the two rates, below 0 if fewer fail.
    """

    n: int
    clusters: int
    closed: int
    still_open: int
    regressed: int
    undecided: int
    p_value: float
    difference: Interval
    effect: float


def rate(hits: int, n: int) -> Rate:
    """Return `hits` of `n` independent items with the 95 % Wilson interval; n = 0 gives [0, 1]."""
    if n == 0:
        return Rate(0, 0, 0.0, 0.0, 1.0)
    from scipy.stats import binomtest

    interval = binomtest(hits, n).proportion_ci(CONFIDENCE, method="wilson")
    return Rate(hits, n, hits / n, float(interval.low), float(interval.high))


def share(values: Sequence[float], clusters: Sequence[Hashable] | None = None) -> Interval:
    """Return the mean of values from 0 to 1 with a Wilson interval that respects clusters.

    The interval is Wilson's for the number of independent items that would be as uncertain as the clusters are,
    found by leaving out one cluster at a time (jackknife), with the t quantile of as many clusters. A bootstrap
    covers less where the share is small or the clusters are few (simulated: LOG.md). Where all clusters are alike,
    each cluster counts as one item. Independent hits and misses get the ordinary Wilson interval.

    A. Dean, M. Pagano, Evaluating confidence interval methods for binomial proportions in clustered surveys,
    Journal of Survey Statistics and Methodology 3 (2015).
    """
    totals, sizes = _grouped(values, clusters)
    n, groups = len(values), len(totals)
    value = math.fsum(values) / n if n else 0.0
    if (groups == n and all(v in (0, 1) for v in values)) or (groups > 1 and value in (0.0, 1.0)):
        found = rate(round(value * groups), groups)
        return Interval(found.value, found.low, found.high)
    if groups == 1:
        return Interval(value, 0.0, 1.0)
    from scipy.stats import norm, t
    from statsmodels.stats.proportion import proportion_confint

    without = [(math.fsum(totals) - total) / (n - size) for total, size in zip(totals, sizes, strict=True)]
    variance = (groups - 1) / groups * math.fsum((w - value) ** 2 for w in without)
    independent = min(float(n), value * (1 - value) / variance) if variance > 1e-15 else float(groups)
    alpha = 2 * norm.sf(t.ppf((1 + CONFIDENCE) / 2, groups - 1))
    low, high = proportion_confint(value * independent, independent, alpha, "wilson")
    return Interval(value, min(value, max(0.0, float(low))), max(value, min(1.0, float(high))))


def rates(failed: Sequence[bool | None], clusters: Sequence[Hashable] | None = None) -> tuple[Rate, Rate]:
    """Return the rate of failures, and the worst case: all that is undecided (None) failed. Both are of all items.

    The worst case is bounded no lower than the rate is, which few scattered failures could make it.
    """
    known, worst = (hits([f in counted for f in failed], clusters) for counted in ((True,), (True, None)))
    return known, replace(worst, high=max(worst.high, known.high))


def hits(found: Sequence[bool], clusters: Sequence[Hashable] | None = None) -> Rate:
    """Return the share of True as a count with its interval (`share`)."""
    interval = share(found, clusters)
    return Rate(sum(found), len(found), interval.value, interval.low, interval.high)


def mean(values: Sequence[float], clusters: Sequence[Hashable] | None = None, seed: int = 0) -> Interval:
    """Return the mean with its percentile bootstrap interval over clusters; [0, 1] for no value.

    The level is raised as a t interval's is, or few clusters would give too narrow an interval: T. Hesterberg, What
    Teachers Should Know About the Bootstrap, The American Statistician 69 (2015). Equal values give no width.
    """
    if not values:
        return Interval(0.0, 0.0, 1.0)
    totals, sizes = _grouped(values, clusters)
    groups, average = len(totals), math.fsum(values) / len(values)
    if min(values) == max(values) or groups == 1:
        return Interval(average, average, average)
    import numpy as np
    from scipy.stats import bootstrap, norm, t

    expanded = math.sqrt(groups / (groups - 1)) * t.ppf((1 + CONFIDENCE) / 2, groups - 1)
    found = bootstrap(
        (np.asarray(totals, dtype=float), np.asarray(sizes, dtype=float)),
        lambda total, size, axis: total.sum(axis=axis) / size.sum(axis=axis),
        n_resamples=RESAMPLES,
        confidence_level=float(1 - 2 * norm.sf(expanded)),
        paired=True,
        method="percentile",
        batch=max(1, 10_000_000 // groups),
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(average, float(found.low), float(found.high))


def shift(values: Sequence[float], clusters: Sequence[Hashable] | None = None) -> Interval:
    """Return the mean of differences of shares, -1 to 1, by clusters as in `mean`.

    Where every item changed alike, or none did, Wilson's bound on what so few clusters can hide takes the place of an
    interval without width.
    """
    found = mean(values, clusters)
    if not values:
        return Interval(0.0, -1.0, 1.0)
    if found.low < found.high:
        return found
    hidden = rate(0, len(_grouped(values, clusters)[0])).high
    return Interval(found.value, max(-1.0, found.value - hidden), min(1.0, found.value + hidden))


def paired(
    before: Sequence[bool | None], after: Sequence[bool | None], clusters: Sequence[Hashable] | None = None
) -> Paired:
    """Compare the same items; True is a failure, None is undecided.

    This is the one place that decides what an undecided item counts for: nothing, on either side.
    """
    names = clusters if clusters is not None else range(len(before))
    triples = [(a, b, name) for a, b, name in zip(before, after, names, strict=True) if None not in (a, b)]
    pairs = Counter((a, b) for a, b, _ in triples)
    closed, opened, still = pairs[True, False], pairs[False, True], pairs[True, True]
    changes, own = [float(b or 0) - float(a or 0) for a, b, _ in triples], [name for *_, name in triples]
    n = len(triples)
    return Paired(
        n,
        len(set(own)),
        closed,
        still,
        opened,
        len(before) - n,
        sign_flip(changes, own),
        shift(changes, own),
        effect((still + opened) / n, (still + closed) / n) if n else 0.0,
    )


def sign_flip(changes: Sequence[float], clusters: Sequence[Hashable] | None = None) -> float:
    """Return the exact two-sided p-value of the sum of whole-numbered changes, each cluster's sign being a coin's.

    With clusters of one item this is McNemar's exact test, and the sign test. scipy.stats.permutation_test draws at
    random beyond some 13 clusters and cannot go below 1e-4; the sums are whole numbers, so all of them are counted.
    """
    import numpy as np
    from scipy.stats import binom

    sums = [round(total) for total in _grouped(changes, clusters)[0]]
    chances = np.ones(1)  # of each possible sum, from the lowest to the highest in steps of 1
    for size, count in Counter(abs(s) for s in sums if s).items():
        steps = np.zeros(2 * size * count + 1)
        steps[:: 2 * size] = binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, steps)
    possible = np.arange(len(chances)) - len(chances) // 2
    return float(min(1.0, chances[abs(possible) >= abs(sum(sums))].sum()))


def _grouped(
    values: Sequence[float], clusters: Sequence[Hashable] | None
) -> tuple[Sequence[float], Sequence[int]]:
    """Return the sum of each cluster's values, and its number of items."""
    if clusters is None:
        return values, [1] * len(values)
    groups: dict[Hashable, list[float]] = defaultdict(list)
    for value, name in zip(values, clusters, strict=True):
        groups[name].append(value)
    return [math.fsum(group) for group in groups.values()], [len(group) for group in groups.values()]


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


def kappa(table: Sequence[Sequence[int]]) -> Interval | None:
    """Return Cohen's kappa of two raters from their square table of counts, with its asymptotic interval.

    None where a rater gives one label to everything: kappa is then 0 or undefined whatever the other one says, and
    its interval would have no width.
    """
    import numpy as np
    from statsmodels.stats.inter_rater import cohens_kappa

    counts = np.asarray(table)
    if min(np.count_nonzero(counts.sum(axis=axis)) for axis in (0, 1)) < 2:
        return None
    found = cohens_kappa(counts)
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
