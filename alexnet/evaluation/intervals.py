"""How sure a share is, and the difference of two shares, from counts alone.

In: counts. Out: intervals that hold the true value with the given confidence.
"""

from math import sqrt
from statistics import NormalDist


def wilson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a share of `successes` among `trials` (JASA 22, 1927, p. 209)."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / trials
    centre = share + z * z / (2 * trials)
    spread = z * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    # Rounding can lead a hair out of the interval that the formula cannot leave.
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def paired_difference(only_first: int, only_second: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval for the share of the second less that of the first, both counted on the same `trials`.

    `only_first` and `only_second` are the trials in which one alone succeeds. Half a trial is added to each of the four
    cells, without which the interval is too narrow for few trials (Agresti and Min, Stat. Med. 24, 2005, p. 729).
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    first, second, whole = only_first + 0.5, only_second + 0.5, trials + 2
    centre = (second - first) / whole
    spread = z * sqrt(first + second - (second - first) ** 2 / whole) / whole
    return max(-1.0, centre - spread), min(1.0, centre + spread)
