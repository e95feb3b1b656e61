"""Out-of-distribution (OOD) detection: a score that is the higher, the less an image looks like any class.

In: logits float32 [N, classes] and embeddings float32 [N, units] of a network, or scores float [N]. Out: scores float64
[N], and how well they separate in-distribution images from others. The score is the sum of the energy, which is high
where no logit is (https://arxiv.org/abs/2010.03759), and a distance of the embedding from those of training images.
numpy only; fitting needs scipy.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from alexnet.evaluation.intervals import Interval, bootstrap
from alexnet.evaluation.metrics import OodSet
from alexnet.inference.classifier import Outputs

Floats = npt.NDArray[np.floating]
Features = tuple[Floats, Floats]  # logits [N, classes] and embeddings [N, units]

TPR: Final = 0.95  # of the in-distribution images, the fraction that the threshold accepts

MIN_NORM: Final = 1e-6  # of an embedding, which is divided by its norm

_CENTROIDS: Final = 50
_IMAGES_PER_CENTROID: Final = 10  # at least
_TINY: Final = 1e-12
_SHRINKAGE: Final = 1e-3  # of the mean variance, added to each variance, so that the covariance has an inverse
_DIGITS: Final = 6  # float32 rounding makes later ones depend on the batch size
_TEMPERATURES: Final = (1.0, 2.0, 5.0, 10.0)
_DISTANCE_WEIGHTS: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class RelativeMahalanobis:
    """The relative Mahalanobis distance (https://arxiv.org/abs/2106.09022), as a polynomial.

    With y = embedding - `mean`: y·`quadratic`·y + the minimum over classes of y·`linear` + `constant`.

    `mean` [units], `quadratic` [units, units], `linear` [units, classes], `constant` [classes], all float32.
    """

    mean: Floats
    quadratic: Floats
    linear: Floats
    constant: Floats

    def __call__(self, embeddings: Floats) -> npt.NDArray[np.float64]:
        """The distance float64 [N]: to the nearest class mean, less that to the mean of all images."""
        y = embeddings.astype(np.float64) - self.mean
        distances: npt.NDArray[np.float64] = ((y @ self.quadratic) * y).sum(1)
        distances += (y @ self.linear + self.constant).min(1)
        return distances


@dataclass(frozen=True)
class CentroidDistance:
    """The squared distance of the L2-normalised embedding to the nearest of `centroids` float32 [n, units]."""

    centroids: Floats

    def __call__(self, embeddings: Floats) -> npt.NDArray[np.float64]:
        """The distance float64 [N]."""
        products = _normalise(embeddings) @ self.centroids.T.astype(np.float64)
        distances: npt.NDArray[np.float64] = (1 - 2 * products + np.square(self.centroids).sum(1)).min(1)
        return distances


Distance = RelativeMahalanobis | CentroidDistance


@dataclass(frozen=True)
class OodScore:
    """`energy_slope` times the energy at `energy_temperature`, plus `distance_slope` times the distance, plus `offset`.

    On the in-distribution images that it was fitted on its mean is zero, and the standard deviations of the two terms
    add up to one.
    """

    distance: Distance
    energy_temperature: float
    energy_slope: float
    distance_slope: float
    offset: float

    def __call__(self, logits: Floats, embeddings: Floats) -> npt.NDArray[np.float64]:
        """The score float64 [N]."""
        energies = self.energy_slope * energy(logits, self.energy_temperature)
        return energies + self.distance_slope * self.distance(embeddings) + self.offset


def energy(logits: Floats, temperature: float) -> npt.NDArray[np.float64]:
    """Minus the log-sum-exp of the logits divided by `temperature`, float64 [N]."""
    exponents = logits.astype(np.float64) / temperature
    highest = exponents.max(1)
    energies: npt.NDArray[np.float64] = -highest - np.log(np.exp(exponents - highest[:, None]).sum(1))
    return energies


def fit_mahalanobis(embeddings: Floats, labels: npt.NDArray[np.int64], classes: int) -> RelativeMahalanobis:
    """The relative Mahalanobis distance by the class means and the shared covariance of training images."""
    x = embeddings.astype(np.float64)
    mean = x.mean(0)
    y = x - mean
    means = np.stack([y[labels == c].mean(0) if (labels == c).any() else np.zeros(x.shape[1]) for c in range(classes)])
    within, total = _precision(y - means[labels]), _precision(y)
    linear = -2 * within @ means.T
    constant = np.einsum("cd,de,ce->c", means, within, means)
    return RelativeMahalanobis(*(part.astype(np.float32) for part in (mean, within - total, linear, constant)))


def fit_centroids(embeddings: Floats) -> CentroidDistance:
    """The distance to the centroids of k-means on training images. Raises `ImportError` where scipy is missing."""
    from scipy.cluster.vq import kmeans2

    count = max(1, min(_CENTROIDS, len(embeddings) // _IMAGES_PER_CENTROID))
    centroids, labels = kmeans2(_normalise(embeddings), count, minit="++", rng=np.random.default_rng(0))
    return CentroidDistance(centroids[np.unique(labels)].astype(np.float32))  # no empty clusters


def fit_score(
    distances: Sequence[Distance], in_distribution: Features, comparisons: Sequence[tuple[Features, Features]]
) -> tuple[OodScore, float]:
    """The score with the highest mean AUROC over `comparisons`, and that mean.

    A comparison is between in-distribution and OOD images; the score is normalised on the images `in_distribution`.
    """
    best: tuple[OodScore, float] | None = None
    for distance, temperature, weight in itertools.product(distances, _TEMPERATURES, _DISTANCE_WEIGHTS):
        score = _normalised(distance, temperature, weight, in_distribution)
        area = float(np.mean([auroc(score(*near), score(*far)) for near, far in comparisons]))
        if best is None or area > best[1]:
            best = score, area
    assert best is not None
    return best


def _normalised(distance: Distance, temperature: float, weight: float, in_distribution: Features) -> OodScore:
    logits, embeddings = in_distribution
    energies, distances = energy(logits, temperature), distance(embeddings)
    slopes = (1 - weight) / max(energies.std(), _TINY), weight / max(distances.std(), _TINY)
    offset = -(slopes[0] * energies.mean() + slopes[1] * distances.mean())
    return OodScore(distance, temperature, float(slopes[0]), float(slopes[1]), float(offset))


def measure(in_distribution: Outputs, ood: Outputs, sha256: str | None = None) -> OodSet:
    """How well the score of a model file separates `ood` images from `in_distribution` ones; both have a score."""
    assert in_distribution.ood_score is not None
    assert ood.ood_score is not None
    assert ood.is_ood is not None
    scores = in_distribution.ood_score, ood.ood_score
    return OodSet(
        images=len(ood.ood_score),
        auroc=round(auroc(*scores), _DIGITS),
        auroc_interval_95=_rounded(auroc_interval(*scores)),
        fpr_at_95_tpr=fpr_at_95_tpr(*scores),
        fpr_at_95_tpr_interval_95=_rounded(fpr_at_95_tpr_interval(*scores)),
        refused=float(ood.is_ood.mean()),
        sha256=sha256,
    )


def threshold(in_distribution: Floats) -> float:
    """The score that a fraction of `TPR` of the in-distribution images does not exceed."""
    return float(np.quantile(in_distribution, TPR, method="higher"))


def auroc(in_distribution: Floats, ood: Floats) -> float:
    """The probability that an OOD image scores higher than an in-distribution one; equal scores count half."""
    return float(_placements(in_distribution, ood).mean())


def auroc_interval(in_distribution: Floats, ood: Floats, confidence: float = 0.95) -> Interval:
    """DeLong's interval of the AUROC (DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988, p. 837)."""
    positive, negative = _placements(in_distribution, ood), 1 - _placements(ood, in_distribution)
    variance = sum(part.var(ddof=1) / len(part) if len(part) > 1 else 0.25 for part in (positive, negative))
    area = float(positive.mean())
    spread = NormalDist().inv_cdf((1 + confidence) / 2) * float(np.sqrt(variance))
    return max(0.0, area - spread), min(1.0, area + spread)


def fpr_at_95_tpr(in_distribution: Floats, ood: Floats) -> float:
    """The fraction of OOD images that are accepted by the threshold that accepts 95 % of the in-distribution ones."""
    return float((ood <= threshold(in_distribution)).mean())


def fpr_at_95_tpr_interval(in_distribution: Floats, ood: Floats) -> Interval:
    """The bootstrap's 95 % interval of `fpr_at_95_tpr`: the threshold varies too."""
    return bootstrap(fpr_at_95_tpr, in_distribution, ood)


def _rounded(interval: Interval) -> Interval:
    return round(interval[0], _DIGITS), round(interval[1], _DIGITS)


def _placements(low: Floats, high: Floats) -> npt.NDArray[np.float64]:
    """For each of `high`, the fraction of `low` that is lower, equal ones counting half: float64 [len(high)]."""
    order = np.sort(low)
    below, up_to = np.searchsorted(order, high, "left"), np.searchsorted(order, high, "right")
    return (below + up_to) / (2 * len(low))


def _normalise(embeddings: Floats) -> npt.NDArray[np.float64]:
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit: npt.NDArray[np.float64] = embeddings / np.maximum(norms, MIN_NORM)
    return unit


def _precision(deviations: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The inverse of the covariance of `deviations` [N, units], with a little shrinkage."""
    covariance = deviations.T @ deviations / len(deviations)
    ridge = max(_SHRINKAGE * np.trace(covariance) / len(covariance), _TINY)
    inverse: npt.NDArray[np.float64] = np.linalg.inv(covariance + ridge * np.eye(len(covariance)))
    return inverse
