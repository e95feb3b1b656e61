"""Confidence intervals, 95 % where nothing else is said.

In: counts or scores. Out: the two ends of an interval that holds the true value with the given confidence.
"""

from collections.abc import Callable
from math import sqrt
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

Interval = tuple[float, float]

_RESAMPLES: Final = 1_000


def wilson(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval for a proportion of `successes` among `trials` (JASA 22, 1927, p. 209)."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / trials
    centre = share + z * z / (2 * trials)
    spread = z * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    # Rounding can lead a hair out of the interval that the formula cannot leave.
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def paired_difference(only_first: int, only_second: int, trials: int, confidence: float = 0.95) -> Interval:
    """Interval for the proportion of the second less that of the first, both counted on the same `trials`.

    `only_first` and `only_second` are the trials in which one alone succeeds. Half a trial is added to each of the four
    cells, without which the interval is too narrow for few trials (Agresti and Min, Stat. Med. 24, 2005, p. 729).
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    first, second, whole = only_first + 0.5, only_second + 0.5, trials + 2
    centre = (second - first) / whole
    spread = z * sqrt(first + second - (second - first) ** 2 / whole) / whole
    return max(-1.0, centre - spread), min(1.0, centre + spread)


def bootstrap(statistic: Callable[..., float], *samples: npt.NDArray[np.generic], confidence: float = 0.95) -> Interval:
    """The percentile interval of `statistic(*samples)` (Efron, Annals of Statistics 7, 1979).

    Each of `samples` [N, ...] is resampled along its first axis by itself. Seeded: the same samples give the same
    interval.
    """
    generator = np.random.default_rng(0)
    values = [
        statistic(*(sample[generator.integers(0, len(sample), len(sample))] for sample in samples))
        for _ in range(_RESAMPLES)
    ]
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
