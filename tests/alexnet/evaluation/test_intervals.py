"""Intervals of shares and of differences: those of published tables and of the hand, and as sure as they say."""

import numpy as np
import pytest

from alexnet.evaluation.intervals import bootstrap, paired_difference, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_is_that_of_newcombes_table(successes: int, trials: int, low: float, high: float) -> None:
    """R. G. Newcombe, Two-sided confidence intervals for the single proportion, Stat. Med. 17, 1998, table I."""
    assert wilson(successes, trials) == pytest.approx((low, high), abs=0.00005)


@pytest.mark.parametrize("trials", [1, 9, 12, 20, 10_000])  # 9 and 12 led out of it by rounding
def test_an_interval_stays_between_0_and_1(trials: int) -> None:
    for successes in (0, 1, trials - 1, trials):
        low, high = wilson(successes, trials)
        assert 0 <= low < high <= 1


def test_the_interval_of_the_difference_is_that_of_its_formula() -> None:
    # (10.5 - 4.5) / 102 = 0.05882; 1.95996 sqrt(15 - 36 / 102) / 102 = 0.07354
    assert paired_difference(4, 10, 100) == pytest.approx((-0.01472, 0.13236), abs=0.00002)
    low, high = paired_difference(10, 4, 100)
    assert (-high, -low) == paired_difference(4, 10, 100)


def test_the_interval_holds_the_true_difference_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).multinomial(200, [0.80, 0.03, 0.07, 0.10], 2000)
    inside = [low <= 0.04 <= high for low, high in (paired_difference(int(b), int(c), 200) for _, b, c, _ in draws)]
    assert 0.935 < np.mean(inside) < 0.97


def test_the_bootstraps_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    sample = np.random.default_rng(0).normal(5, 2, 1000)
    low, high = bootstrap(lambda values: float(values.mean()), sample)
    assert (low + high) / 2 == pytest.approx(sample.mean(), abs=0.02)
    assert high - low == pytest.approx(2 * 1.96 * 2 / 1000**0.5, rel=0.1)
    assert bootstrap(lambda values: float(values.mean()), sample) == (low, high)
