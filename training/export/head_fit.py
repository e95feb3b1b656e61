"""Fit the output head of a graph: the temperature of its softmax, its OOD score, and the score's threshold.

In: a graph with outputs `logits` and `embedding`, training and validation images. Out: the graph with its output head,
and the values that its metadata state. Without validation images, these come from the metadata of an earlier file.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx

from alexnet.datasets import Images, synthetic_outliers
from alexnet.evaluation import calibration, ood
from alexnet.evaluation.calibration import Temperature
from alexnet.evaluation.ood import OodScore
from alexnet.inference.metadata import Calibration, ModelMetadata, OodFit
from training.export import output_head

Pixels = npt.NDArray[np.uint8]
Run = Callable[[onnx.ModelProto, Sequence[str], Pixels], list[npt.NDArray[np.float32]]]

BODY: Final = ("logits", "embedding")

_OUTLIERS: Final = 1_000  # of each synthetic kind, at most
_OUTLIERS_PER_IMAGE: Final = 20  # more than the validation images can tell apart
_SEED: Final = 0


@dataclass(frozen=True)
class HeadFit:
    """The constants of an output head, as its metadata state them."""

    temperature: Temperature
    threshold: float
    ood: OodFit
    uncalibrated: Calibration | None

    def describe(self, metadata: ModelMetadata) -> ModelMetadata:
        """`metadata` with these values."""
        return metadata.model_copy(
            update={
                "temperature": self.temperature.base,
                "temperature_slope": self.temperature.slope,
                "ood_threshold": self.threshold,
                "uncalibrated": self.uncalibrated,
            }
        )


def fit(body: onnx.ModelProto, run: Run, training: Images, validation: Images) -> tuple[onnx.ModelProto, HeadFit]:
    """`body` with the head that suits `validation` best; `training` images give the class means of the distance."""
    distance = _fit_distance(body, run, training)
    logits, embeddings = run(body, BODY, validation.pixels)
    count = min(_OUTLIERS, _OUTLIERS_PER_IMAGE * len(validation))
    outliers = synthetic_outliers.make(validation.pixels, validation.labels, count, _SEED)
    score, auroc = ood.fit_score(
        distance, (logits, embeddings), {kind: run(body, BODY, pixels) for kind, pixels in outliers.items()}
    )
    uncalibrated = calibration.softmax(logits)
    temperature = calibration.fit_temperature(uncalibrated, validation.labels)
    model = output_head.attach(body, temperature, score)
    (scores,) = run(model, (output_head.UNKNOWN_SCORE,), validation.pixels)
    found = OodFit(
        energy_temperature=score.energy_temperature,
        energy_slope=score.energy_slope,
        distance_slope=score.distance_slope,
        offset=score.offset,
        auroc=auroc,
        kinds=tuple(outliers),
    )
    return model, HeadFit(
        temperature, ood.threshold(scores), found, calibration.measure(uncalibrated, validation.labels)
    )


def reuse(body: onnx.ModelProto, run: Run, training: Images, earlier: ModelMetadata) -> tuple[onnx.ModelProto, HeadFit]:
    """`body` with the temperature, the score's constants and the threshold of an `earlier` file.

    The distance is fitted to `training`. For a run on all images, whose recipe an earlier run chose.
    """
    assert earlier.temperature is not None
    assert earlier.ood_threshold is not None
    assert earlier.compression is not None
    temperature, found = Temperature(earlier.temperature, earlier.temperature_slope), earlier.compression.ood
    assert found.offset is not None
    distance = _fit_distance(body, run, training)
    score = OodScore(distance, found.energy_temperature, found.energy_slope, found.distance_slope, found.offset)
    model = output_head.attach(body, temperature, score)
    return model, HeadFit(temperature, earlier.ood_threshold, found, None)


def _fit_distance(body: onnx.ModelProto, run: Run, training: Images) -> ood.RelativeMahalanobis:
    logits, embeddings = run(body, BODY, training.pixels)
    return ood.fit_distance(embeddings, training.labels, logits.shape[1])
