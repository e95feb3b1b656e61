"""OtherOutputs to scores: accuracy, F1, the confusion matrix, which classes are confused most; and what others predict.

In: labels and predicted classes int64 [N], both from 0 to classes - 1. Out: frozen values. numpy only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from alexnet import environment
from alexnet.datasets import Images
from alexnet.evaluation.intervals import wilson
from alexnet.evaluation.metrics import Parity
from alexnet.inference.classifier import Outputs

Ints = npt.NDArray[np.int64]

_RESAMPLES: Final = 2_000
_DIGITS: Final = 9


@dataclass(frozen=True)
class Scores:
    """What a confusion matrix says; every score lies between 0 and 1.

    `confusion` int64 [classes, classes]: rows are true classes, columns predicted ones. `recall`, `precision` and `f1`
    float64 [classes], 0 where the denominator is 0; the accuracy of a class is its recall. `interval` is Wilson's 95 %
    interval of the accuracy.
    """

    confusion: Ints
    accuracy: float
    interval: tuple[float, float]
    macro_f1: float
    weighted_f1: float
    recall: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64]
    f1: npt.NDArray[np.float64]

    @property
    def support(self) -> Ints:
        """Images of each true class, int64 [classes]."""
        totals: Ints = self.confusion.sum(1)
        return totals


@dataclass(frozen=True)
class Pair:
    """Two classes: `first_as_second` images of the first are taken for the second, `second_as_first` the other way."""

    first: str
    second: str
    first_as_second: int
    second_as_first: int


@dataclass(frozen=True)
class Sample:
    """An image that is taken for another class: its `number` from 0 in the order of the data, its `pixels` uint8
    [height, width, 3], its class, the predicted one, and that one's probability.
    """

    number: int
    pixels: npt.NDArray[np.uint8]
    label: str
    predicted: str
    probability: float


@dataclass(frozen=True)
class OtherOutputs:
    """OtherOutputs made elsewhere: `predicted` int64 [N]; `probabilities` float64 [N, classes], NaN where not told;
    `refused` as out-of-distribution, bool [N], None where not told.
    """

    predicted: Ints
    probabilities: npt.NDArray[np.float64]
    refused: npt.NDArray[np.bool_] | None = None


def score(labels: Ints, predicted: Ints, classes: int) -> Scores:
    """The scores of `predicted` against `labels`."""
    confusion = np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
    hits = confusion.diagonal()
    support, chosen = confusion.sum(1), confusion.sum(0)
    f1 = _ratio(2 * hits, support + chosen)
    return Scores(
        confusion=confusion,
        accuracy=float(hits.sum() / len(labels)),
        interval=wilson(int(hits.sum()), len(labels)),
        macro_f1=float(f1.mean()),
        weighted_f1=float((f1 * support).sum() / len(labels)),
        recall=_ratio(hits, support),
        precision=_ratio(hits, chosen),
        f1=f1,
    )


def macro_f1_interval(confusion: Ints, confidence: float = 0.95) -> tuple[float, float]:
    """The bootstrap's percentile interval of macro F1, each class resampled by itself (Efron, Annals of Statistics 7,
    1979). Seeded: the same matrix gives the same interval.
    """
    generator = np.random.default_rng(0)
    support = confusion.sum(1)
    shares = confusion / np.maximum(support[:, None], 1)
    values = []
    for _ in range(_RESAMPLES):
        drawn = np.stack([generator.multinomial(n, share) for n, share in zip(support, shares, strict=True)])
        values.append((2 * drawn.diagonal() / np.maximum(drawn.sum(0) + drawn.sum(1), 1)).mean())
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def hardest_pairs(confusion: Ints, classes: Sequence[str], count: int = 5) -> list[Pair]:
    """The `count` pairs of classes that are confused most often, in either direction; fewer where fewer are."""
    both = np.triu(confusion + confusion.T, 1)
    order = np.argsort(-both, axis=None, kind="stable")[:count]
    places = [divmod(int(place), len(classes)) for place in order]
    return [Pair(classes[a], classes[b], int(confusion[a, b]), int(confusion[b, a])) for a, b in places if both[a, b]]


def confused_samples(
    images: Images,
    probabilities: npt.NDArray[np.float32],
    classes: Sequence[str],
    pairs: Sequence[Pair],
    count: int = 8,
) -> list[list[Sample]]:
    """For each pair the `count` images, or fewer, confused with the highest of `probabilities` [N, classes]."""
    predicted = probabilities.argmax(1)
    rows = []
    for pair in pairs:
        first, second = classes.index(pair.first), classes.index(pair.second)
        confused = ((images.labels == first) & (predicted == second)) | (
            (images.labels == second) & (predicted == first)
        )
        found = np.flatnonzero(confused)
        found = found[np.argsort(-probabilities[found].max(1), kind="stable")][:count]
        rows.append(
            [
                Sample(
                    int(number),
                    images.pixels[number],
                    classes[images.labels[number]],
                    classes[predicted[number]],
                    float(probabilities[number].max()),
                )
                for number in found
            ]
        )
    return rows


def differences(own: Outputs, other: OtherOutputs) -> Parity:
    """How the `other` predictions differ from a model file's `own` answers to the same images."""
    different_ood = None
    if own.is_ood is not None and other.refused is not None:
        different_ood = int((own.is_ood != other.refused).sum())
    return Parity(
        images=len(other.predicted),
        different_classes=int((own.probabilities.argmax(1) != other.predicted).sum()),
        largest_difference=round(float(np.nanmax(np.abs(own.probabilities - other.probabilities))), _DIGITS),
        different_ood=different_ood,
        environment=environment.describe("torch", "onnxruntime-gpu", "onnxruntime", "numpy", "httpx"),
    )


def _ratio(part: Ints, whole: Ints) -> npt.NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
