"""The F1 scores that different methods compute from the same predictions. numpy only."""

from typing import Final

import numpy as np
import numpy.typing as npt

from alexnet.evaluation.predictions import Predictions
from alexnet.evaluation.scores import score

BATCH_SIZES: Final = (32, 64)

Ints = npt.NDArray[np.int64]


def candidates(predictions: Predictions, classes: int) -> dict[str, float]:
    """F1 from 0 to 1 by the name of the method, of predictions in the data's order.

    Over all images: macro, weighted, micro (the accuracy). Over batches, of which the last may be smaller: the mean of
    the batches' scores, each batch weighted the same. A batch lacks classes: there are four conventions for these.
    """
    labels, predicted = predictions.labels, predictions.predicted
    scores = score(labels, predicted, classes)
    found = {
        "macro": scores.macro_f1,
        "weighted": scores.weighted_f1,
        "micro": scores.accuracy,
    }
    for size in BATCH_SIZES:
        for name, value in _of_batches(labels, predicted, classes, size).items():
            found[f"batches of {size}, {name}"] = float(value.mean())
    return found


def _of_batches(labels: Ints, predicted: Ints, classes: int, size: int) -> dict[str, npt.NDArray[np.float64]]:
    """The scores float64 [batches] of each batch."""
    batch = np.arange(len(labels)) // size
    shape = (int(batch[-1]) + 1, classes)

    def count(places: Ints) -> Ints:
        return np.bincount(places, minlength=shape[0] * shape[1]).reshape(shape)

    support, chosen = count(batch * classes + labels), count(batch * classes + predicted)
    hits = count((batch * classes + labels)[labels == predicted])
    f1 = 2 * hits / np.maximum(support + chosen, 1)
    absent = support + chosen == 0
    return {
        "macro, absent classes left out": f1.mean(1, where=~absent),
        "macro, absent classes left out although predicted": f1.mean(1, where=support > 0),
        "macro, absent classes as 0": f1.mean(1),
        "macro, absent classes as 1": np.where(absent, 1.0, f1).mean(1),
        "weighted": (f1 * support).sum(1) / support.sum(1),
    }
