"""Shares with their intervals, and how far judges agree."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iteralign.stats import kappa, rate

# Fleiss 1971, table 1 in the form in which textbooks shorten it: 14 raters, 10 subjects, 5 categories, kappa 0.210.
TEXTBOOK = [
    (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
]  # fmt: skip


def test_kappa_of_the_textbook() -> None:
    items = [[label for label, n in enumerate(row) for _ in range(n)] for row in TEXTBOOK]
    assert kappa(items) == pytest.approx(0.210, abs=0.0005)


def test_kappa_says_nothing_about_nothing() -> None:
    assert kappa([]) is None
    assert kappa([["a"], ["b"]]) is None
    assert kappa([["a", "a", "a"]] * 5) is None


def test_kappa_at_its_ends() -> None:
    assert kappa([["a", "a"], ["b", "b"]]) == 1.0
    assert kappa([["a", "b"], ["b", "a"]]) == -1.0


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=3, max_size=3), min_size=1, max_size=20))
def test_kappa_does_not_depend_on_who_is_who(items: list[list[str]]) -> None:
    found = kappa(items)
    again = kappa([row[::-1] for row in items[::-1]])
    assert found == again or found == pytest.approx(again)
    assert found is None or found <= 1.0


def test_a_share_of_nothing_knows_nothing() -> None:
    assert (rate(0, 0).low, rate(0, 0).high) == (0.0, 1.0)
    assert rate(1, 2).low < 0.5 < rate(1, 2).high
