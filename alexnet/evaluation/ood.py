"""A score that is the higher, the less an image looks like any class.

In: logits float32 [N, classes] and codes float32 [N, units] of a network. Out: scores float32 [N]. Two signs are added
up: the energy, which is high where no logit is (https://arxiv.org/abs/2010.03759), and how far the code lies from the
nearest class, compared with its distance from all images together (relative Mahalanobis distance,
https://arxiv.org/abs/2106.09022). Their shares are chosen on images that are held out and on unknown ones made of them.
numpy only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from alexnet.evaluation import calibration

Floats = npt.NDArray[np.floating]

_RIDGE: Final = 1e-3  # share of the mean variance that is added to each direction, so that the inverse exists
_HEATS: Final = (1.0, 2.0, 5.0, 10.0)
_SHARES: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Distance:
    """Relative Mahalanobis distance: with y = code - `centre`, y·`square`·y + the least of y·`lines` + `bases`.

    `centre` [units], `square` [units, units], `lines` [units, classes], `bases` [classes], all float32.
    """

    centre: Floats
    square: Floats
    lines: Floats
    bases: Floats

    def __call__(self, codes: Floats) -> npt.NDArray[np.float64]:
        """The distance float64 [N]."""
        y = codes.astype(np.float64) - self.centre
        result: npt.NDArray[np.float64] = ((y @ self.square) * y).sum(1) + (y @ self.lines + self.bases).min(1)
        return result


@dataclass(frozen=True)
class Score:
    """`slope_energy` times the energy at temperature `heat`, plus `slope_distance` times the distance, plus `offset`.

    In the known images that it was chosen on, its mean is zero, and each sign varies by its share of one standard
    deviation.
    """

    distance: Distance
    heat: float
    slope_energy: float
    slope_distance: float
    offset: float

    def __call__(self, logits: Floats, codes: Floats) -> npt.NDArray[np.float64]:
        """The score float64 [N]."""
        return self.slope_energy * energy(logits, self.heat) + self.slope_distance * self.distance(codes) + self.offset


def energy(logits: Floats, heat: float) -> npt.NDArray[np.float64]:
    """Minus the logarithm of the sum of the powers of the logits at temperature `heat`, float64 [N]."""
    exponents = logits.astype(np.float64) / heat
    highest = exponents.max(1)
    result: npt.NDArray[np.float64] = -highest - np.log(np.exp(exponents - highest[:, None]).sum(1))
    return result


def fit_distance(codes: Floats, labels: npt.NDArray[np.int64], classes: int) -> Distance:
    """The relative distance by the means and the shared covariance of the classes of training images."""
    x = codes.astype(np.float64)
    centre = x.mean(0)
    y = x - centre
    means = np.stack([y[labels == c].mean(0) if (labels == c).any() else np.zeros(x.shape[1]) for c in range(classes)])
    within, whole = _precision(y - means[labels]), _precision(y)
    lines = -2 * within @ means.T
    bases = np.einsum("cd,de,ce->c", means, within, means)
    return Distance(*(part.astype(np.float32) for part in (centre, within - whole, lines, bases)))


def choose(distance: Distance, known: Sequence[Floats], unknown: Mapping[str, Sequence[Floats]]) -> tuple[Score, float]:
    """The score with the highest mean of the AUROC over the kinds of `unknown`, and that mean.

    `known` and each kind of `unknown` are logits and codes of images.
    """
    far, fars = distance(known[1]), {kind: distance(codes) for kind, (_, codes) in unknown.items()}
    best: tuple[Score, float] | None = None
    for heat in _HEATS:
        low, lows = energy(known[0], heat), {kind: energy(logits, heat) for kind, (logits, _) in unknown.items()}
        for share in _SHARES:
            slopes = (1 - share) / max(low.std(), 1e-12), share / max(far.std(), 1e-12)
            ours = slopes[0] * low + slopes[1] * far
            areas = [calibration.auroc(ours, slopes[0] * lows[kind] + slopes[1] * fars[kind]) for kind in unknown]
            if best is None or np.mean(areas) > best[1]:
                score = Score(distance, heat, float(slopes[0]), float(slopes[1]), float(-ours.mean()))
                best = score, float(np.mean(areas))
    assert best is not None
    return best


def _precision(deviations: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The inverse of the covariance of `deviations` [N, units], a little rounded towards a ball."""
    covariance = deviations.T @ deviations / len(deviations)
    ridge = max(_RIDGE * np.trace(covariance) / len(covariance), 1e-12)
    inverse: npt.NDArray[np.float64] = np.linalg.inv(covariance + ridge * np.eye(len(covariance)))
    return inverse
