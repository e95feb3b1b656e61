"""The model's outputs to named predictions.

In: probabilities float32 [classes] of an image. Out: its `top_k` best classes, best first, with their probabilities
rounded to the six decimals that float32 supports.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

DEFAULT_TOP_K: Final = 5
MAX_TOP_K: Final = 10

_DIGITS: Final = 6


class LabelScore(NamedTuple):
    """A class and its probability."""

    label: str
    score: float


@dataclass(frozen=True)
class Prediction:
    """What the model says about one image: its best classes, best first, and whether it is probably none of them.

    `is_ood` and `ood_score`, which grows the less the image is like any class, are None where the model has no such
    output.
    """

    top: tuple[LabelScore, ...]
    is_ood: bool | None = None
    ood_score: float | None = None

    @property
    def label(self) -> str:
        """The best class."""
        return self.top[0].label

    @property
    def score(self) -> float:
        """The probability of the best class."""
        return self.top[0].score

    def describe(self) -> dict[str, Any]:
        """For JSON, as the service answers: `predictions`, and `unknown` where the model has an OOD output."""
        described: dict[str, Any] = {"predictions": [{"label": label, "score": score} for label, score in self.top]}
        if self.is_ood is not None:
            described["unknown"] = self.is_ood
        return described


def rank(probabilities: npt.NDArray[np.float32], classes: Sequence[str], top_k: int) -> tuple[LabelScore, ...]:
    """The `top_k` best of `classes`, or all if there are fewer; of equal ones the first in the order of the classes."""
    scores = probabilities.tolist()
    # Not `argsort`: for few classes it is slower, and it releases the GIL, which a busy server gives back late.
    best = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)[:top_k]
    return tuple([LabelScore(classes[place], round(scores[place], _DIGITS)) for place in best])
