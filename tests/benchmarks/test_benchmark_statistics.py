"""Statistics of repeated measurements, against values worked out elsewhere and against simulated truth."""

import math

import numpy as np
import pytest
from scipy import stats

from portanet.benchmarks.statistics import again, agreement, crossover, difference, holm, ratio, repeatability, spread


def test_spread_of_nothing_is_none():
    assert spread([]) is None


def test_spread_has_the_quartiles_and_deviation_of_numpy():
    values = np.random.default_rng(0).lognormal(size=9)
    seen = spread(values)
    assert (seen.low, seen.median, seen.high) == pytest.approx(np.quantile(values, [0.25, 0.5, 0.75]))
    assert (seen.mean, seen.sd, seen.n) == (pytest.approx(values.mean()), pytest.approx(values.std(ddof=1)), 9)
    assert seen.iqr == pytest.approx(seen.high - seen.low)


def test_one_repeat_has_no_deviation_and_is_not_called_unstable():
    seen = spread([3.0])
    assert math.isnan(seen.sd)
    assert seen.unstable == ""


@pytest.mark.parametrize(
    "values, told",
    [
        ([10.0, 10.1, 10.2, 10.3, 10.4], ""),
        ([8.0, 9.0, 10.0, 11.0, 12.0], "the middle half of 5 repeats spans 20% of their median"),
        ([5.0, 10.0, 10.0, 10.0, 10.1], "the fastest of 5 repeats took 50% of the median"),
        ([10.0, 10.0, 10.0, 10.0, 30.0], ""),
    ],
)
def test_unstable_where_quartiles_are_wide_or_the_minimum_far_below(values, told):
    assert spread(values).unstable == told


def test_ratio_is_the_paired_t_test_on_logarithms():
    rng = np.random.default_rng(1)
    slow, fast = rng.lognormal(1.0, 0.1, 6), rng.lognormal(0.7, 0.1, 6)
    found, wanted = ratio(slow, fast), stats.ttest_rel(np.log(slow), np.log(fast))
    low, high = wanted.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((math.exp(low), math.exp(high)))
    assert found.p == pytest.approx(wanted.pvalue)
    assert found.value == pytest.approx(stats.gmean(slow / fast))


def test_ratio_takes_out_what_slows_both_in_a_repeat():
    disturbance = np.array([1.0, 3.0, 1.5, 2.0, 1.2])
    found = ratio(2.0 * disturbance, disturbance)
    assert (found.low, found.value, found.high) == pytest.approx((2.0, 2.0, 2.0))
    assert found.p < 1e-6


def test_ratio_the_other_way_round_is_its_inverse():
    one, other = [1.0, 1.1, 1.2], [2.0, 2.3, 2.2]
    there, back = ratio(one, other), ratio(other, one)
    assert (there.low, there.high) == pytest.approx((1 / back.high, 1 / back.low))


def test_one_pair_gives_a_ratio_without_an_interval():
    found = ratio([2.0], [1.0])
    assert found.value == pytest.approx(2.0)
    assert (found.low, found.high, found.p, found.n) == (0.0, math.inf, 1.0, 1)


@pytest.mark.parametrize("first, second", [([1.0, 2.0], [1.0]), ([], [])])
def test_pairs_must_be_pairs(first, second):
    with pytest.raises(ValueError, match="pairs of repeats are needed"):
        ratio(first, second)


def test_a_ratio_needs_positive_figures():
    with pytest.raises(ValueError, match="zero or below"):
        ratio([1.0, 0.0], [1.0, 1.0])


def test_difference_is_the_paired_t_test():
    first, second = [0.012, 0.010, 0.011, 0.013], [0.010, 0.010, 0.010, 0.011]
    found, wanted = difference(first, second), stats.ttest_rel(first, second)
    assert (found.low, found.high) == pytest.approx(tuple(wanted.confidence_interval(0.95)))
    assert found.p == pytest.approx(wanted.pvalue)


def test_equal_errors_are_no_difference():
    found = difference([0.01, 0.02], [0.01, 0.02])
    assert (found.value, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("interval", ["ratio", "again"])
def test_intervals_hold_the_truth_as_often_as_they_say(interval):
    """Timings drawn from one distribution: 95 % of 2000 experiments, give or take 4 standard errors."""
    draws = np.random.default_rng(2).lognormal(0.0, 0.05, (2000, 2, 5))
    if interval == "ratio":
        held = [ratio(one, other).holds(1.0) for one, other in draws]
    else:
        held = [again(one).holds(float(stats.gmean(other))) for one, other in draws]
    assert np.mean(held) == pytest.approx(0.95, abs=0.02)


def test_again_narrows_with_the_repeats_of_the_other_run():
    values = [10.0, 10.2, 9.9, 10.1, 10.0]
    single, whole = again(values, 1), again(values)
    assert single.low < whole.low < whole.value < whole.high < single.high


def test_again_of_one_repeat_promises_nothing():
    assert (again([3.0]).low, again([3.0]).high) == (0.0, math.inf)


def test_agreement_needs_the_same_rows():
    assert agreement(np.array([0, 1, 2, 2]), np.array([0, 1, 1, 1])) == 0.5
    with pytest.raises(ValueError, match=r"got shapes \(3,\) and \(2,\)"):
        agreement([0, 1, 2], [0, 1])
    with pytest.raises(ValueError, match="same rows"):
        agreement([], [])


def test_holm_as_worked_by_hand():
    assert holm([]) == []
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_holm_keeps_false_alarms_rare():
    p = np.random.default_rng(3).random((4000, 10))
    assert np.mean([min(holm(list(row))) < 0.05 for row in p]) == pytest.approx(0.05, abs=0.015)


def test_repeatability_pools_the_groups():
    groups = np.random.default_rng(4).normal(np.arange(50)[:, None], 0.3, (50, 200))
    assert repeatability(groups) == pytest.approx(1.96 * math.sqrt(2) * 0.3, rel=0.02)
    assert repeatability([[1.0], []]) is None


def test_crossover_lies_between_the_points_where_order_changes():
    assert crossover([16, 64, 256], [100, 100, 100], [25, 100 / 2, 200]) == pytest.approx(128)


@pytest.mark.parametrize("second", [[1, 2, 3], [11, 20, 30], [10, 10, 10], [10, 11, 12]])
def test_no_crossover_where_the_order_stays(second):
    assert crossover([1, 2, 3], [10, 10, 10], second) is None


def test_of_several_crossovers_the_last_counts():
    at = crossover([1, 10, 100, 1000], [1, 1, 1, 1], [0.5, 2, 0.5, 2])
    assert 100 < at < 1000
