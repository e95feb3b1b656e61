"""Multinomial logistic regression with an L2 penalty that cross-validation chooses.

In: features float32 [N, views, D], the views of an image being itself and, where there are two, its mirror image, and
labels int64 [N]. Out: a linear layer, and for each image the logits of a layer that has not seen it. numpy only:
scikit-learn and SciPy, which it needs, would double what `pip install alexnet-cifar10` brings, for one function.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from alexnet.evaluation.calibration import negative_log_likelihood, softmax

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

FOLDS: Final = 5
PENALTIES: Final = (3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5)  # from strong to weak: each starts where the last ended

_STEPS: Final = 500
_TOLERANCE: Final = 1e-4  # of the gradient's norm, as a fraction of its first
_SMALLEST_SCALE: Final = 0.1  # of the root mean square deviation, added to each feature's: rare ones are not blown up


@dataclass(frozen=True)
class Linear:
    """Logits = x @ `weight` [D, classes] + `bias` [classes]."""

    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        """The logits float32 [N, classes] of features [N, D]."""
        logits: Floats = x @ self.weight + self.bias
        return logits


@dataclass(frozen=True)
class Probe:
    """What was fitted: the `layer`, its `penalty`, and the held-out logits `[N, classes]` of the images `held_out` [N].

    `held_out` are positions among the images; of many images they are a part. An image's logits are the mean over its
    views, by a layer that was fitted without the image and its copies.
    """

    layer: Linear
    penalty: float
    held_out: Ints
    logits: Floats


def fit_probe(features: Floats, labels: Ints, folds: Ints, classes: int, report: Callable[[int], None]) -> Probe:
    """Fit all images with the penalty of the lowest held-out negative log-likelihood.

    `folds` int64 [N] from 0 to `FOLDS` - 1 says in which fold an image is held out, -1 that it is in none. `report`
    is called after each fold, with how many are done.
    """
    scale = Scale.of(features)
    x = scale(features)
    basis = _basis(x)
    x = x if basis is None else x @ basis
    chosen = np.flatnonzero(folds >= 0)
    logits = np.zeros((len(PENALTIES), len(features), classes), np.float32)
    for fold in range(FOLDS):
        rest, held_out = chosen[folds[chosen] != fold], np.flatnonzero(folds == fold)
        for place, layer in enumerate(_path(x[rest], labels[rest], classes)):
            logits[place, held_out] = layer(x[held_out].mean(1))
        report(fold + 1)
    losses = [negative_log_likelihood(softmax(row[chosen]), labels[chosen]) for row in logits]
    best = int(np.argmin(losses))
    penalty = PENALTIES[best] * len(chosen) / len(features)  # the loss is a mean over images: more of them, less of it
    layer = fit_layer(features, labels, classes, penalty)
    return Probe(layer, penalty, chosen, logits[best, chosen])


def fit_layer(features: Floats, labels: Ints, classes: int, penalty: float) -> Linear:
    """The layer of all images with this `penalty`."""
    scale = Scale.of(features)
    x = scale(features)
    basis = _basis(x)
    x = x if basis is None else x @ basis
    layer = _path(x, labels, classes, (*(stronger for stronger in PENALTIES if stronger > penalty), penalty))[-1]
    if basis is not None:
        layer = Linear(basis @ layer.weight, layer.bias)
    return scale.folded_into(layer)


@dataclass(frozen=True)
class Scale:
    """Features less their `mean` [D], times `factor` [D]: the squared length of a row is about one."""

    mean: Floats
    factor: Floats

    @classmethod
    def of(cls, features: Floats) -> "Scale":
        """That of features [N, views, D]."""
        mean = features.mean((0, 1), dtype=np.float64)
        variance = np.square(features - mean.astype(np.float32)).mean((0, 1), dtype=np.float64)
        deviation = np.sqrt(variance + _SMALLEST_SCALE**2 * variance.mean() + 1e-12)
        factor = 1 / (deviation * np.sqrt(features.shape[-1]))
        return cls(mean.astype(np.float32), factor.astype(np.float32))

    def __call__(self, features: Floats) -> Floats:
        """Scaled features, float32 of the same shape."""
        return (features - self.mean) * self.factor

    def folded_into(self, layer: Linear) -> Linear:
        """The layer that does to features what `layer` does to scaled ones."""
        weight = layer.weight * self.factor[:, None]
        return Linear(weight, layer.bias - self.mean @ weight)


def draw_folds(labels: Ints, digests: npt.NDArray[np.uint8], seed: int, most: int) -> Ints:
    """The fold of each image, int64 [N]: of each class the same share in each, copies (equal `digests`) in one.

    Of more than `most` images, the others are in no fold: -1.
    """
    rng = np.random.default_rng(seed)
    _, group = np.unique(digests, axis=0, return_inverse=True)
    group = group.reshape(-1)
    folds = np.full(int(group.max()) + 1, -1, np.int64)
    first = np.unique(group, return_index=True)[1]
    share = min(1.0, most / len(folds))
    for label in np.unique(labels[first]):
        members = rng.permutation(np.flatnonzero(labels[first] == label))
        members = members[: max(FOLDS, round(share * len(members)))]
        folds[members] = (np.arange(len(members)) + rng.integers(FOLDS)) % FOLDS
    return folds[group]


def _basis(x: Floats) -> Floats | None:
    """An orthonormal basis [D, rows] of the rows of `x` where there are fewer rows than features.

    The penalised solution lies in the rows' span, so that fitting in this basis loses nothing.
    """
    rows = x.reshape(-1, x.shape[-1])
    return None if len(rows) >= x.shape[-1] else np.linalg.qr(rows.T)[0]


def _path(x: Floats, labels: Ints, classes: int, penalties: tuple[float, ...] = PENALTIES) -> list[Linear]:
    """The layers for x [N, views, D] by penalty, from strong to weak.

    Nesterov's accelerated gradient with restarts (https://arxiv.org/abs/1204.3982): the loss is convex, and its
    curvature is at most half of the largest eigenvalue of the features' second moments.
    """
    rows = np.concatenate([x, np.ones((*x.shape[:2], 1), np.float32)], 2).reshape(-1, x.shape[2] + 1)
    target = np.repeat(np.eye(classes, dtype=np.float32)[labels], x.shape[1], 0)
    curvature = _largest_eigenvalue(rows) / 2
    weight = np.zeros((rows.shape[1], classes), np.float32)
    first = np.linalg.norm(rows.T @ (1 / classes - target)) / len(rows)
    layers = []
    for penalty in penalties:
        decay = np.full((len(weight), 1), penalty, np.float32)
        decay[-1] = 0  # the bias is not penalised
        ahead, momentum = weight, 1.0
        for _ in range(_STEPS):
            gradient = rows.T @ (softmax(rows @ ahead).astype(np.float32) - target) / len(rows) + decay * ahead
            if np.linalg.norm(gradient) < _TOLERANCE * first:
                break
            following = ahead - gradient / np.float32(curvature + penalty)
            if (gradient * (following - weight)).sum() > 0:
                momentum = 1.0
            faster = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            ahead = following + np.float32((momentum - 1) / faster) * (following - weight)
            weight, momentum = following, faster
        layers.append(Linear(weight[:-1], weight[-1]))
    return layers


def _largest_eigenvalue(rows: Floats) -> float:
    """Of the second moments of `rows`, by the power method; with a margin for what it has not reached."""
    vector: Floats = np.ones(rows.shape[1], np.float32)
    for _ in range(30):
        vector = (vector / np.linalg.norm(vector)).astype(np.float32)
        vector = (rows.T @ (rows @ vector) / len(rows)).astype(np.float32)
    return 1.1 * float(np.linalg.norm(vector))
