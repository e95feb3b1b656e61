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
from alexnet.evaluation.ood import CentroidDistance, Features, OodScore, RelativeMahalanobis
from alexnet.evaluation.photos import NONE, PhotoSet
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
                "temperature_certainty_slope": self.temperature.certainty_slope,
                "ood_threshold": self.threshold,
                "uncalibrated": self.uncalibrated,
            }
        )


def fit(
    body: onnx.ModelProto, run: Run, training: Images, validation: Images, photos: PhotoSet | None = None
) -> tuple[onnx.ModelProto, HeadFit]:
    """`body` with the output head that suits `validation` best; the distance is fitted to `training` images.

    With `photos`, the score is chosen by how well it separates those of none of the classes from those of the classes,
    and the threshold accepts 95 % of the latter, too.
    """

    def features(pixels: Pixels) -> Features:
        logits, embeddings = run(body, BODY, pixels)
        return logits, embeddings

    held_out = features(validation.pixels)
    outliers = _outliers(validation, photos)
    near = {NONE: features(photos.images.pixels)} if photos is not None else {}
    comparisons = [(near.get(kind, held_out), features(pixels)) for kind, pixels in outliers.items()]
    score, auroc = ood.fit_score(_fit_distances(features(training.pixels), training), held_out, comparisons)
    uncalibrated = calibration.softmax(held_out[0])
    temperature = calibration.fit_temperature(uncalibrated, validation.labels)
    model = output_head.attach(body, temperature, score)
    accepted = [validation.pixels] if photos is None else [validation.pixels, photos.images.pixels]
    threshold = max(ood.threshold(run(model, (output_head.UNKNOWN_SCORE,), pixels)[0]) for pixels in accepted)
    uncalibrated_scores = calibration.measure(uncalibrated, validation.labels)
    return model, HeadFit(temperature, threshold, _describe(score, auroc, tuple(outliers)), uncalibrated_scores)


def reuse(body: onnx.ModelProto, run: Run, training: Images, earlier: ModelMetadata) -> tuple[onnx.ModelProto, HeadFit]:
    """`body` with the temperature, the score's constants and the threshold of an `earlier` file.

    The distance is fitted to `training`. For a run on all images, whose recipe an earlier run chose.
    """
    temperature = calibration.temperature_of(earlier)
    assert temperature is not None
    assert earlier.ood_threshold is not None
    assert earlier.compression is not None
    found = earlier.compression.ood
    assert found.offset is not None
    logits, embeddings = run(body, BODY, training.pixels)
    mahalanobis, centroids = _fit_distances((logits, embeddings), training)
    distance = centroids if found.distance == "centroids" else mahalanobis
    score = OodScore(distance, found.energy_temperature, found.energy_slope, found.distance_slope, found.offset)
    model = output_head.attach(body, temperature, score)
    return model, HeadFit(temperature, earlier.ood_threshold, found, None)


def _fit_distances(features: Features, training: Images) -> tuple[RelativeMahalanobis, CentroidDistance]:
    logits, embeddings = features
    return ood.fit_mahalanobis(embeddings, training.labels, logits.shape[1]), ood.fit_centroids(embeddings)


def _outliers(validation: Images, photos: PhotoSet | None) -> dict[str, Pixels]:
    """OOD images by kind: real ones where there are some, else synthetic ones; and noise and flat images."""
    count = min(_OUTLIERS, _OUTLIERS_PER_IMAGE * len(validation))
    if photos is None or photos.none is None:
        return synthetic_outliers.make(validation.pixels, validation.labels, count, _SEED)
    return {
        NONE: photos.none,
        "noise": synthetic_outliers.noise(count, _SEED),
        "flat": synthetic_outliers.flat(count, _SEED),
    }


def _describe(score: OodScore, auroc: float, kinds: tuple[str, ...]) -> OodFit:
    return OodFit(
        distance="centroids" if isinstance(score.distance, CentroidDistance) else "mahalanobis",
        energy_temperature=score.energy_temperature,
        energy_slope=score.energy_slope,
        distance_slope=score.distance_slope,
        offset=score.offset,
        auroc=auroc,
        kinds=kinds,
    )
