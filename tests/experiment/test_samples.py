"""The statistics of an experiment, against data made by hand."""

import pytest
from scipy.stats import binomtest

from iteralign import stats
from iteralign.experiment.samples import Sample, SampleItem, contrast, pooled


def sample(values: str, asked: str = "q", families: str = "") -> Sample:
    """`10?` is three items: a hit, none, and one that is undecided. families: a letter for each item."""
    return {
        SampleItem(asked, f"i{i}", families[i : i + 1]): None if v == "?" else float(v)
        for i, v in enumerate(values)
        if v != "."
    }


def test_a_mean_is_over_items_and_all_their_seeds() -> None:
    found = pooled({0: sample("1100"), 1: sample("1000"), 2: sample("1000")})
    assert found is not None
    assert (found.n, found.seeds) == (4, 3)
    assert found.interval.value == pytest.approx((1 + 1 / 3 + 0 + 0) / 4)


def test_seeds_that_agree_are_no_new_evidence() -> None:
    """Ten seeds with the same answers know no more than one; as many independent items would."""
    answers = "11100000" * 5
    one = pooled({0: sample(answers)})
    ten = pooled({s: sample(answers) for s in range(10)})
    apart = pooled({s: sample(answers, f"q{s}") for s in range(10)})
    assert one is not None
    assert ten is not None
    assert apart is not None
    assert ten.interval == one.interval
    assert (apart.n, ten.n) == (400, 40)
    assert apart.interval.high - apart.interval.low < 0.5 * (ten.interval.high - ten.interval.low)


@pytest.mark.parametrize("value", ["0", "1"])
def test_where_all_are_alike_the_interval_is_wilson_s_for_the_items(value: str) -> None:
    found = pooled({s: sample(value * 30) for s in range(4)})
    assert found is not None
    expected = stats.rate(30 * int(value), 30)
    assert found.interval == stats.Interval(expected.value, expected.low, expected.high)


def test_nothing_is_nothing_and_never_zero() -> None:
    assert pooled({}) is None
    assert pooled({0: {}}) is None
    assert contrast({}, {0: sample("1")}) is None
    assert contrast({0: sample("1")}, {1: sample("1")}) is None
    assert contrast({0: sample("1", "q")}, {0: sample("1", "other")}) is None


def test_the_difference_is_arm_minus_reference_on_common_seeds_and_items() -> None:
    found = contrast({0: sample("1110."), 1: sample("00000")}, {0: sample("10000"), 2: sample("11111")})
    assert found is not None
    assert (found.n, found.seeds) == (4, 1)
    assert found.difference.value == pytest.approx(2 / 4)
    assert found.pooled == pytest.approx(binomtest(0, 2).pvalue)


def test_harm_is_read_from_the_smallest_and_the_pooled_p_and_benefit_from_the_largest() -> None:
    """The seeds answer the same items: 12 of them changed, so the pooled test has 12 pieces of evidence, not 18."""
    reference = {s: sample("0" * 20) for s in range(2)}
    arm = {0: sample("1" * 12 + "0" * 8), 1: sample("1" * 6 + "0" * 14)}
    found = contrast(arm, reference)
    assert found is not None
    assert found.smallest == pytest.approx(binomtest(0, 12).pvalue)
    assert found.largest == pytest.approx(binomtest(0, 6).pvalue)
    assert found.pooled == pytest.approx(binomtest(0, 12).pvalue)
    assert found.difference.value == pytest.approx((12 + 6) / 40)
    assert found.difference.low > 0


def test_no_change_is_no_evidence_and_a_few_items_can_hide_one() -> None:
    same = {s: sample("1010") for s in range(3)}
    found = contrast(same, same)
    assert found is not None
    hidden = stats.rate(0, 4).high
    assert (found.smallest, found.largest, found.pooled) == (1.0, 1.0, 1.0)
    assert found.difference == stats.Interval(0.0, -hidden, hidden)


def test_where_all_changed_the_bound_is_wilson_s_too() -> None:
    found = contrast({0: sample("1" * 30)}, {0: sample("0" * 30)})
    assert found is not None
    assert found.difference == stats.Interval(1.0, 1.0 - stats.rate(0, 30).high, 1.0)
    assert found.difference.low == pytest.approx(stats.rate(30, 30).low)


def test_items_of_one_family_are_one_piece_of_evidence() -> None:
    """Twelve of twelve items changed, but they are about three facts: one seed says p = 0.25, not 0.0005."""
    families = "aaaabbbbcccc"
    arm, reference = sample("1" * 12, families=families), sample("0" * 12, families=families)
    found = contrast({0: arm, 1: arm}, {0: reference, 1: reference})
    assert found is not None
    assert (found.largest, found.pooled) == (2 / 2**3, 2 / 2**3)
    assert found.smallest == pytest.approx(
        binomtest(0, 12).pvalue
    )  # what harm must not hide behind few facts
    mixed = pooled({0: sample("111100001111", families=families)})
    alone = pooled({0: sample("111100001111")})
    assert mixed is not None
    assert alone is not None
    assert mixed.interval.high - mixed.interval.low > 1.5 * (alone.interval.high - alone.interval.low)


def test_what_is_undecided_is_no_hit_a_hit_in_the_worst_case_and_in_no_test() -> None:
    arm, reference = {0: sample("1?0?")}, {0: sample("0011")}
    rate, worst = pooled(arm), pooled(arm, undecided=1.0)
    found = contrast(arm, reference)
    assert rate is not None
    assert worst is not None
    assert found is not None
    assert (rate.interval.value, worst.interval.value, rate.n) == (1 / 4, 3 / 4, 4)
    assert (found.n, found.difference.value) == (2, pytest.approx(0.0))
    assert contrast({0: sample("??")}, {0: sample("01")}) is None


def test_unequal_samples_are_weighed_by_item() -> None:
    found = pooled({0: sample("1101"), 1: sample("0.01"), 2: sample("..0.")})
    assert found is not None
    assert found.interval.value == pytest.approx((0.5 + 1 + 0 + 1) / 4)
    assert 0 <= found.interval.low < found.interval.value < found.interval.high <= 1
