"""Statistics: known values, what holds for every input, and what happens where there is nothing to count."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import permutation_test
from statsmodels.stats.contingency_tables import mcnemar

from iteralign import stats

outcomes = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40)


def test_wilson_and_kappa_give_the_textbook_values() -> None:
    found = stats.rate(8, 10)
    assert (found.low, found.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    # Two raters, 50 items: observed agreement 0.7, by chance 0.5.
    found = stats.kappa([[20, 5], [10, 15]])
    assert found is not None
    assert found.value == pytest.approx(0.4)
    assert found.low < 0.4 < found.high


def test_mcnemar_is_the_binomial_test_of_what_changed() -> None:
    before = [True] * 10 + [False] * 2 + [True] * 5
    after = [False] * 10 + [True] * 2 + [True] * 5
    found = stats.paired(before, after)
    assert (found.closed, found.still_open, found.regressed, found.n) == (10, 5, 2, 17)
    assert found.p_value == pytest.approx(2 * sum(math.comb(12, k) for k in range(3)) / 2**12)
    assert found.difference.value == pytest.approx(-8 / 17)
    assert found.difference.low < found.difference.value < found.difference.high < 0
    assert found.effect < 0


@given(outcomes)
def test_every_item_is_in_one_class_and_swapping_swaps(pairs: list[tuple[bool, bool]]) -> None:
    before, after = [a for a, _ in pairs], [b for _, b in pairs]
    there, back = stats.paired(before, after), stats.paired(after, before)
    assert there.closed + there.still_open == sum(before)
    assert there.regressed + there.still_open == sum(after)
    assert (there.closed, there.regressed) == (back.regressed, back.closed)
    assert there.p_value == back.p_value
    assert 0 < there.p_value <= 1
    assert there.difference.value == -back.difference.value
    assert there.effect == pytest.approx(-back.effect)


def test_holm_steps_down() -> None:
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert stats.holm([]) == []


def test_a_bootstrap_is_the_same_each_time_and_holds_its_mean() -> None:
    values = [i / 10 for i in range(11)]
    once = stats.mean(values)
    assert once == stats.mean(values)
    assert once.value == pytest.approx(0.5)
    assert once.low < once.value < once.high
    assert stats.mean([0.25, 0.25]) == stats.Interval(0.25, 0.25, 0.25)
    assert stats.mean([]) == stats.Interval(0.0, 0.0, 1.0)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_more_items_show_smaller_differences(share: float) -> None:
    found = [stats.detectable(n, share) for n in (0, 10, 58, 200, 2000)]
    assert found == sorted(found, reverse=True)
    assert 0 < found[-1] < found[0] <= 1


def test_the_detectable_difference_of_a_known_case() -> None:
    """Two groups of 385 tell 0.5 from 0.4 with a power of 80 %, by the arcsine formula."""
    assert stats.detectable(385, 0.5) == pytest.approx(0.1, abs=0.002)


def test_nothing_counted_is_no_difference() -> None:
    assert stats.sign_flip([]) == stats.sign_flip([0, 0]) == 1.0
    assert stats.sign_flip([1] * 10) == pytest.approx(2 / 2**10)
    empty = stats.paired([], [])
    assert (empty.p_value, empty.effect, empty.difference) == (1.0, 0.0, stats.Interval(0.0, -1.0, 1.0))


# Fleiss 1971, table 1 in the form in which textbooks shorten it: 14 raters, 10 subjects, 5 categories, kappa 0.210.
TEXTBOOK = [
    (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
]  # fmt: skip


def test_fleiss_of_the_textbook() -> None:
    items = [[label for label, n in enumerate(row) for _ in range(n)] for row in TEXTBOOK]
    assert stats.fleiss(items) == pytest.approx(0.210, abs=0.0005)


def test_fleiss_says_nothing_about_nothing() -> None:
    assert stats.fleiss([]) is None
    assert stats.fleiss([["a"], ["b"]]) is None
    assert stats.fleiss([["a", "a", "a"]] * 5) is None


def test_fleiss_at_its_ends() -> None:
    assert stats.fleiss([["a", "a"], ["b", "b"]]) == 1.0
    assert stats.fleiss([["a", "b"], ["b", "a"]]) == -1.0


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=3, max_size=3), min_size=1, max_size=20))
def test_fleiss_does_not_depend_on_who_is_who(items: list[list[str]]) -> None:
    found = stats.fleiss(items)
    again = stats.fleiss([row[::-1] for row in items[::-1]])
    assert found == again or found == pytest.approx(again)
    assert found is None or found <= 1.0


def test_a_share_of_nothing_knows_nothing() -> None:
    assert (stats.rate(0, 0).low, stats.rate(0, 0).high) == (0.0, 1.0)
    assert stats.rate(1, 2).low < 0.5 < stats.rate(1, 2).high


@pytest.mark.parametrize("table", [[[0, 0], [0, 0]], [[7, 0], [0, 0]], [[4, 0], [9, 0]], [[4, 9], [0, 0]]])
def test_a_rater_with_one_label_has_no_kappa(table: list[list[int]]) -> None:
    """Kappa is then 0 or undefined, and its asymptotic interval would be [0, 0]."""
    assert stats.kappa(table) is None


def test_clusters_of_one_are_wilson_and_mcnemar() -> None:
    values = [True] * 7 + [False] * 13
    alone = stats.hits(values, range(20))
    assert alone == stats.hits(values) == stats.rate(7, 20)
    table = [[0, 9], [2, 0]]
    changes = [1] * 9 + [-1] * 2
    assert stats.sign_flip(changes) == pytest.approx(float(mcnemar(table, exact=True).pvalue))
    assert stats.sign_flip([*changes, 0, 0], range(13)) == stats.sign_flip(changes)


def test_a_cluster_is_one_piece_of_evidence() -> None:
    """Ten copies of an answer say no more than one, in an interval, a difference and a test."""
    values = [1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    tenfold, names = [v for v in values for _ in range(10)], [i for i in range(10) for _ in range(10)]
    naive, by_cluster = stats.share(tenfold), stats.share(tenfold, names)
    assert by_cluster.value == naive.value
    assert by_cluster.high - by_cluster.low > 2.5 * (naive.high - naive.low)
    assert by_cluster.low <= stats.share(values).low + 0.02
    assert stats.sign_flip(tenfold, names) == stats.sign_flip(values) == 2 / 2**4
    assert stats.sign_flip(tenfold) < 1e-10


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_clusters_that_are_all_alike_count_once_each(value: float) -> None:
    """600 harmless answers to 36 templates do not bound what a 37th template would do at half a percent."""
    found = stats.share([value] * 600, [i % 36 for i in range(600)])
    expected = stats.rate(round(36 * value), 36)
    assert found == stats.Interval(value, expected.low, expected.high)
    assert stats.share([value] * 9, ["one"] * 9) == stats.Interval(value, 0.0, 1.0)


def test_the_sign_flip_test_is_scipy_s_over_all_permutations() -> None:
    changes, names = [2, 1, -1, 3, -2, 1, 1, 0, 4], list("aabbccdde")
    sums = [3.0, 2.0, -1.0, 1.0, 4.0]
    expected = permutation_test(
        (sums, [0.0] * 5),
        lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis),
        permutation_type="samples",
    )
    assert stats.sign_flip(changes, names) == pytest.approx(expected.pvalue)


def test_what_is_undecided_on_either_side_is_in_no_count() -> None:
    found = stats.paired([True, None, False, True, None], [None, True, False, False, None])
    assert (found.n, found.closed, found.regressed, found.undecided) == (2, 1, 0, 3)
    rate, worst = stats.rates([True, None, False, None])
    assert ((rate.hits, rate.n), (worst.hits, worst.n)) == ((1, 4), (3, 4))


@pytest.mark.parametrize(
    ("groups", "share", "alike"), [(12, 0.5, 0.3), (36, 0.2, 0.2), (36, 0.6, 0.5), (80, 0.1, 0.1)]
)
def test_a_95_percent_interval_covers_95_percent_on_clustered_data(
    groups: int, share: float, alike: float
) -> None:
    """Clusters of 4 to 20 items whose shares vary (beta-binomial, intra-cluster correlation `alike`), 800 times."""
    rng = np.random.default_rng(7)
    covered, naive, times = 0, 0, 800
    for _ in range(times):
        sizes = rng.integers(4, 21, groups)
        own = rng.beta(share * (1 / alike - 1), (1 - share) * (1 / alike - 1), groups)
        names = np.repeat(np.arange(groups), sizes)
        values = (rng.random(sizes.sum()) < own[names]).astype(float)
        found, alone = stats.share(values.tolist(), names.tolist()), stats.share(values.tolist())
        covered += found.low <= share <= found.high
        naive += alone.low <= share <= alone.high
    assert 0.93 <= covered / times <= 0.97
    assert naive / times < 0.88


@pytest.mark.slow
@pytest.mark.parametrize("groups", [12, 36])
def test_a_bootstrap_over_clusters_covers_95_percent_of_differences(groups: int) -> None:
    """Changes of -1, 0 and 1 whose mean varies by cluster, 800 times; the true mean is 0.1."""
    rng = np.random.default_rng(3)
    covered, times = 0, 800
    for _ in range(times):
        sizes = rng.integers(4, 21, groups)
        own = np.clip(rng.normal(0.1, 0.15, groups), -0.35, 0.55)
        names = np.repeat(np.arange(groups), sizes)
        draws = rng.random(sizes.sum())
        values = np.where(
            draws < 0.2 + own[names] / 2, 1.0, np.where(draws > 0.8 + own[names] / 2, -1.0, 0.0)
        )
        found = stats.shift(values.tolist(), names.tolist())
        covered += found.low <= 0.1 <= found.high
    assert 0.93 <= covered / times <= 0.97
