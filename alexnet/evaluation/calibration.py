"""How far probabilities and the score for unknown things can be trusted.

In: probabilities float32 [N, classes] with the labels int64 [N], or scores float [N] of known and of unknown images, of
which unknown ones should be the higher. Out: numbers from 0 to 1, nats, and the temperature of a softmax. numpy only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

BINS: Final = 15
KEPT: Final = 0.95  # share of known images that the threshold of the unknown ones lets pass

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]

_TINY: Final = float(np.finfo(np.float32).tiny)  # float32 softmax gives zero, whose logarithm would say too much
_COLDEST, _HOTTEST = 0.05, 20.0
_STEEPEST: Final = 1.0
LEAST_ENTROPY: Final = 1e-6  # as a share of the highest: what is surer than that is as sure as that
_GOLDEN: Final = (5**0.5 - 1) / 2
_HALVINGS: Final = 50


@dataclass(frozen=True)
class Reliability:
    """What was promised and what was kept, in `BINS` bins of equal width of the highest probability.

    `confidence` and `accuracy` float64 [BINS] are the means of a bin, 0 where `count` int64 [BINS] is 0.
    """

    confidence: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]
    count: Ints

    @property
    def error(self) -> float:
        """The expected calibration error: the mean distance of the two, by image (https://arxiv.org/abs/1706.04599)."""
        return float((self.count * np.abs(self.confidence - self.accuracy)).sum() / self.count.sum())


def reliability(probabilities: Floats, labels: Ints) -> Reliability:
    """Bin images by the probability of their best class; a bin holds its upper edge."""
    confidence = probabilities.max(1).astype(np.float64)
    hits = probabilities.argmax(1) == labels
    place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    count = np.bincount(place, minlength=BINS)

    def mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.bincount(place, values, BINS) / np.maximum(count, 1)

    return Reliability(mean(confidence), mean(hits.astype(np.float64)), count)


def negative_log_likelihood(probabilities: Floats, labels: Ints) -> float:
    """The mean of minus the logarithm of the true class's probability, in nats."""
    return float(-_logarithm(probabilities)[np.arange(len(labels)), labels].mean())


@dataclass(frozen=True)
class Temperature:
    """What logits are divided by: `base` times the power `slope`, from 0 to 1, of the entropy of their softmax, as a
    share of the highest there is.

    With a slope of 0 it is one number for all. Else the less certain an image, the higher (adaptive temperature scaling
    by entropy, https://arxiv.org/abs/2208.00461, with a power in place of a softplus).
    """

    base: float
    slope: float = 0.0

    def of(self, probabilities: Floats) -> npt.NDArray[np.float64]:
        """That of each image, float64 [N, 1], by its probabilities [N, classes] at a temperature of one."""
        result: npt.NDArray[np.float64] = self.base * entropy(probabilities) ** self.slope
        return result


def entropy(probabilities: Floats) -> npt.NDArray[np.float64]:
    """The entropy float64 [N, 1] of probabilities [N, classes], as a share of the highest; a millionth at least."""
    shares = -(probabilities * _logarithm(probabilities)).sum(1, keepdims=True) / np.log(probabilities.shape[1])
    result: npt.NDArray[np.float64] = np.maximum(shares, LEAST_ENTROPY)
    return result


def heat(probabilities: Floats, temperature: Temperature) -> npt.NDArray[np.float64]:
    """The probabilities float64 [N, classes] at `temperature` of what are `probabilities` at one.

    Logits are logarithms of probabilities but for a constant in each row, which softmax does not see.
    """
    return softmax(_logarithm(probabilities) / temperature.of(probabilities))


def cool(probabilities: Floats, temperature: Temperature) -> npt.NDArray[np.float64]:
    """The inverse of `heat`: the probabilities float64 [N, classes] at one of those at `temperature`.

    The higher a row's temperature is taken to be, the surer it was before, and the lower its temperature by that: the
    one where both agree is found by halving.
    """
    logarithm = _logarithm(probabilities)
    low = np.full((len(logarithm), 1), temperature.base * LEAST_ENTROPY**temperature.slope)
    high = np.full_like(low, temperature.base)
    for _ in range(_HALVINGS if temperature.slope else 0):
        middle = (low + high) / 2
        too_low = temperature.of(softmax(middle * logarithm)) > middle
        low, high = np.where(too_low, middle, low), np.where(too_low, high, middle)
    return softmax((low + high) / 2 * logarithm)


def softmax(logits: Floats) -> npt.NDArray[np.float64]:
    """Probabilities float64 [N, classes]."""
    powers = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    result: npt.NDArray[np.float64] = powers / powers.sum(1, keepdims=True)
    return result


def fit_temperature(probabilities: Floats, labels: Ints) -> Temperature:
    """The temperature at which `heat` has the lowest negative log likelihood; its base lies between 0.05 and 20.

    Golden-section search for the slope and, for each, for the logarithm of the base: there the likelihood has one peak,
    as it is concave in the inverse temperature.
    """

    def base(slope: float) -> tuple[float, float]:
        def loss(exponent: float) -> float:
            return negative_log_likelihood(heat(probabilities, Temperature(float(np.exp(exponent)), slope)), labels)

        return _lowest(loss, float(np.log(_COLDEST)), float(np.log(_HOTTEST)))

    slope, _ = _lowest(lambda slope: base(slope)[1], 0.0, _STEEPEST, 1e-3)
    slope = min((0.0, slope), key=lambda slope: base(slope)[1])
    return Temperature(float(np.exp(base(slope)[0])), slope)


def _lowest(loss: Callable[[float], float], low: float, high: float, width: float = 1e-4) -> tuple[float, float]:
    """Where `loss` is lowest between `low` and `high`, to `width`, and how low."""
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    losses = [loss(left), loss(right)]
    while high - low > width:
        if losses[0] < losses[1]:
            high, right, left = right, left, right - _GOLDEN * (right - low)
            losses = [loss(left), losses[0]]
        else:
            low, left, right = left, right, left + _GOLDEN * (high - left)
            losses = [losses[1], loss(right)]
    middle = (low + high) / 2
    return middle, loss(middle)


def auroc(known: Floats, unknown: Floats) -> float:
    """The chance that an unknown image scores higher than a known one; equal scores count half (Mann and Whitney)."""
    order = np.sort(known)
    below, up_to = np.searchsorted(order, unknown, "left"), np.searchsorted(order, unknown, "right")
    return float((below + up_to).sum() / (2 * len(known) * len(unknown)))


def threshold(known: Floats) -> float:
    """The score that `KEPT` of the known images do not exceed."""
    return float(np.quantile(known, KEPT, method="higher"))


def false_positive_rate(known: Floats, unknown: Floats) -> float:
    """The share of unknown images that pass as known where `KEPT` of the known ones do."""
    return float((unknown <= threshold(known)).mean())


def _logarithm(probabilities: Floats) -> npt.NDArray[np.float64]:
    logarithm: npt.NDArray[np.float64] = np.log(np.maximum(probabilities.astype(np.float64), _TINY))
    return logarithm
