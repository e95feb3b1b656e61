"""Calibration: how far probabilities can be trusted, and the temperature that makes them better.

In: probabilities float [N, classes], each row adding up to one, and labels int64 [N]. Out: errors, and a temperature.
numpy only; fitting needs scipy.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from alexnet.evaluation.intervals import Interval, bootstrap
from alexnet.inference.metadata import Calibration, ModelMetadata

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]

BINS: Final = 15
MIN_ENTROPY: Final = 1e-6  # as a fraction of the highest; below it, the temperature no longer falls
MIN_CERTAINTY: Final = 1e-3  # one less the entropy, which float32 still tells from zero

_TINY: Final = float(np.finfo(np.float32).tiny)  # a float32 softmax can give 0, whose logarithm is not finite
_DIGITS: Final = 6  # float32 rounding makes later ones depend on the batch size
_BASES: Final = (0.05, 20.0)
_SLOPES: Final = (0.0, 1.0)


@dataclass(frozen=True)
class Reliability:
    """Confidence and accuracy in `BINS` bins of equal width of the highest probability.

    `confidence` and `accuracy` float64 [BINS] are the means of a bin, 0 where `count` int64 [BINS] is 0.
    """

    confidence: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]
    count: Ints

    @property
    def expected_calibration_error(self) -> float:
        """The mean over images of the difference of the two (ECE, https://arxiv.org/abs/1706.04599)."""
        return float((self.count * np.abs(self.confidence - self.accuracy)).sum() / self.count.sum())


def reliability(probabilities: Floats, labels: Ints) -> Reliability:
    """Bin images by the probability of their predicted class; a bin includes its upper edge."""
    return _reliability(probabilities.max(1).astype(np.float64), probabilities.argmax(1) == labels)


def expected_calibration_error_interval(probabilities: Floats, labels: Ints) -> Interval:
    """The bootstrap's 95 % interval of the expected calibration error.

    The error of few images is biased upwards, and so is this interval.
    """
    both = np.stack([probabilities.max(1).astype(np.float64), probabilities.argmax(1) == labels], axis=1)
    return bootstrap(lambda rows: _reliability(rows[:, 0], rows[:, 1]).expected_calibration_error, both)


def negative_log_likelihood(probabilities: Floats, labels: Ints) -> float:
    """The mean negative logarithm of the true class's probability, in nats per image."""
    return float(-_logarithm(probabilities)[np.arange(len(labels)), labels].mean())


def measure(probabilities: Floats, labels: Ints) -> Calibration:
    """Expected calibration error and negative log-likelihood, rounded to what no batch size changes."""
    return Calibration(
        expected_calibration_error=round(reliability(probabilities, labels).expected_calibration_error, _DIGITS),
        negative_log_likelihood=round(negative_log_likelihood(probabilities, labels), _DIGITS),
    )


@dataclass(frozen=True)
class Temperature:
    """What the logits of an image are divided by: `base` * h ** `slope` * (1 - h) ** `certainty_slope`.

    h is the normalized entropy of the image's uncalibrated probabilities; both slopes are from 0 to 1. Without slopes
    this is temperature scaling (https://arxiv.org/abs/1706.04599), with them entropy-based adaptive temperature scaling
    (https://arxiv.org/abs/2208.00461, with powers in place of a softplus). `slope` lowers the confidence of uncertain
    images; `certainty_slope` raises that of the most uncertain ones, which outlier exposure makes too low.
    """

    base: float
    slope: float = 0.0
    certainty_slope: float = 0.0

    def of(self, probabilities: Floats) -> npt.NDArray[np.float64]:
        """The temperature of each image, float64 [N, 1], from its uncalibrated `probabilities` [N, classes]."""
        entropy = normalized_entropy(probabilities)
        certainty = np.maximum(1 - entropy, MIN_CERTAINTY)
        temperatures: npt.NDArray[np.float64] = self.base * entropy**self.slope * certainty**self.certainty_slope
        return temperatures


def temperature_of(metadata: ModelMetadata) -> Temperature | None:
    """The temperature in a model file's graph; None where it was not calibrated."""
    if metadata.temperature is None:
        return None
    return Temperature(metadata.temperature, metadata.temperature_slope, metadata.temperature_certainty_slope)


def normalized_entropy(probabilities: Floats) -> npt.NDArray[np.float64]:
    """The entropy float64 [N, 1] of `probabilities` as a fraction of the highest, at least `MIN_ENTROPY`."""
    entropy = -(probabilities * _logarithm(probabilities)).sum(1, keepdims=True)
    fraction: npt.NDArray[np.float64] = np.maximum(entropy / np.log(probabilities.shape[1]), MIN_ENTROPY)
    return fraction


def apply_temperature(probabilities: Floats, temperature: Temperature) -> npt.NDArray[np.float64]:
    """The calibrated probabilities float64 [N, classes] of uncalibrated `probabilities`.

    Logits are the logarithms of probabilities but for a constant in each row, which the softmax removes.
    """
    return softmax(_logarithm(probabilities) / temperature.of(probabilities))


def softmax(logits: Floats) -> npt.NDArray[np.float64]:
    """Probabilities float64 [N, classes]."""
    powers = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    probabilities: npt.NDArray[np.float64] = powers / powers.sum(1, keepdims=True)
    return probabilities


def fit_temperature(probabilities: Floats, labels: Ints) -> Temperature:
    """The temperature at which uncalibrated `probabilities` have the lowest negative log-likelihood.

    Its base lies between 0.05 and 20. Raises `ImportError` where scipy is missing.
    """
    from scipy.optimize import minimize

    def loss(parameters: npt.NDArray[np.float64]) -> float:
        temperature = _temperature(parameters)
        return negative_log_likelihood(apply_temperature(probabilities, temperature), labels)

    bounds = [tuple(np.log(_BASES)), _SLOPES, _SLOPES]
    return _temperature(minimize(loss, (0.0, 0.1, 0.1), method="L-BFGS-B", bounds=bounds).x)


def _temperature(parameters: npt.NDArray[np.float64]) -> Temperature:
    base, slope, certainty_slope = map(float, parameters)
    return Temperature(float(np.exp(base)), slope, certainty_slope)


def _reliability(confidence: npt.NDArray[np.float64], correct: npt.NDArray[np.generic]) -> Reliability:
    places = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    count = np.bincount(places, minlength=BINS)

    def mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.bincount(places, values, BINS) / np.maximum(count, 1)

    return Reliability(mean(confidence), mean(correct.astype(np.float64)), count)


def _logarithm(probabilities: Floats) -> npt.NDArray[np.float64]:
    logarithm: npt.NDArray[np.float64] = np.log(np.maximum(probabilities.astype(np.float64), _TINY))
    return logarithm
