"""Statistics: known values, what holds for every input, and what happens where there is nothing to count."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iteralign import stats

outcomes = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40)


def test_wilson_and_kappa_give_the_textbook_values() -> None:
    found = stats.rate(8, 10)
    assert (found.low, found.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    # Two raters, 50 items: observed agreement 0.7, by chance 0.5.
    assert stats.kappa([[20, 5], [10, 15]]).value == pytest.approx(0.4)


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
    assert stats.sign_test(0, 0) == 1.0
    assert stats.sign_test(10, 0) == pytest.approx(2 / 2**10)
    assert stats.kappa([[0, 0], [0, 0]]) == stats.kappa([[7, 0], [0, 0]]) == stats.Interval(0.0, -1.0, 1.0)
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
