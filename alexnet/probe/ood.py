"""The OOD score of a linear probe: how far an image's features are from those of every class.

In: embeddings float32 [N, D] of training images, the mean of each channel in each of `GRID` x `GRID` parts of an image;
and their labels. Out: a score, and what it gives to images that it was not fitted on. The score is the squared distance
to the nearest class mean, in the principal components of the direction of the channels' means, each component scaled to
unit variance. It is the direction that counts: an image of one colour has small features, near the mean of all. numpy
only.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from alexnet.probe.logistic import FOLDS, Scale

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

GRID: Final = 3

_MOST_COMPONENTS: Final = 128
_IMAGES_PER_COMPONENT: Final = 2.5


@dataclass(frozen=True)
class NearestMean:
    """The squared distance of direction @ `projection` [channels, k] + `offset` [k] to the nearest of the `means`
    [classes, k].
    """

    projection: Floats
    offset: Floats
    means: Floats

    def __call__(self, embeddings: Floats) -> Floats:
        """The score float32 [N] of embeddings [N, D]."""
        x = direction(embeddings) @ self.projection + self.offset
        distances = np.square(x).sum(1, keepdims=True) - 2 * x @ self.means.T + np.square(self.means).sum(1)
        nearest: Floats = distances.min(1)
        return nearest


def direction(embeddings: Floats) -> Floats:
    """The means of the channels, float32 [N, channels], each row of length one."""
    means = embeddings.reshape(len(embeddings), -1, GRID**2).mean(2)
    directions: Floats = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), np.float32(1e-12))
    return directions


def components(images: int, embedding: int) -> int:
    """How many components are used of so many training images, with `embedding` values each.

    Distances grow with their number: it has to be the same where a threshold is held out.
    """
    return max(1, min(_MOST_COMPONENTS, embedding // GRID**2, int(images / _IMAGES_PER_COMPONENT)))


def fit(embeddings: Floats, labels: Ints, classes: int, count: int) -> NearestMean:
    """The score of training images in `count` components."""
    directions = direction(embeddings)
    scale = Scale.of(directions[:, None])
    x = scale(directions)
    projection = _whitening(x, count)
    means = np.stack([(x[labels == label] @ projection).mean(0) for label in range(classes)])
    projection = scale.factor[:, None] * projection
    return NearestMean(projection, -scale.mean @ projection, means.astype(np.float32))


def held_out_scores(embeddings: Floats, labels: Ints, folds: Ints, classes: int, count: int) -> Floats:
    """The score of each image that is in a fold, by what was fitted on the other folds."""
    scores = np.zeros(len(embeddings), np.float32)
    for fold in range(FOLDS):
        rest, held_out = (folds >= 0) & (folds != fold), folds == fold
        scores[held_out] = fit(embeddings[rest], labels[rest], classes, count)(embeddings[held_out])
    return scores[folds >= 0]


def _whitening(x: Floats, count: int) -> Floats:
    """The matrix [D, count] to the first principal components of centred x [N, D], of unit variance."""
    values, vectors = np.linalg.eigh(x.T @ x / np.float32(len(x)))
    first: Floats = vectors[:, ::-1][:, :count] / np.sqrt(np.maximum(values[::-1][:count], 1e-12)).astype(np.float32)
    return first.astype(np.float32)
