"""A model on photos: of its classes, which it was not trained on, and of anything else.

In: a folder with a folder of photos for each class, or for some, and, if wanted, `none/` with photos of none of the
classes; of any size. Out: the `Photos` of `metrics.json`. All are shrunk by the decoder, so that the OOD score cannot
tell the two kinds by how they were made.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from alexnet.datasets import Images, folders, loose_images
from alexnet.datasets.loose_images import LooseImages
from alexnet.errors import UserError
from alexnet.evaluation import calibration, ood
from alexnet.evaluation.metrics import Photos, Proportion
from alexnet.inference.classifier import Classifier, Outputs

Predict = Callable[[npt.NDArray[np.uint8]], Outputs]

NONE: Final = "none"


@dataclass(frozen=True)
class PhotoSet:
    """Photos of the classes, `none` uint8 [N, height, width, 3] of none of them where there are any, and a digest."""

    images: Images
    none: npt.NDArray[np.uint8] | None
    sha256: str


def read(folder: Path, classes: Sequence[str], height: int, width: int) -> PhotoSet:
    """Read a folder of photos, labelled by their places in `classes`.

    Raises `UserError` where a folder is not the name of a class, or nothing can be read.
    """
    parts = {name: loose_images.read(folder / name, height, width) for name in _class_folders(folder, classes)}
    images = Images(
        np.concatenate([images.pixels for images in parts.values()]),
        np.concatenate([np.full(len(images), classes.index(name)) for name, images in parts.items()]),
    )
    if has_none := NONE not in classes and (folder / NONE).is_dir():
        parts[NONE] = loose_images.read(folder / NONE, height, width)
    return PhotoSet(images, parts[NONE].pixels if has_none else None, _digest(parts))


def measure(classifier: Classifier, predict: Predict, folder: Path) -> Photos:
    """Accuracy, calibration and OOD detection on the photos in `folder`; `predict` gives the model's outputs.

    Raises `UserError` where a folder is not the name of a class, or nothing can be read.
    """
    height, width, _ = classifier.image_shape
    found = read(folder, classifier.classes, height, width)
    labels, outputs = found.images.labels, predict(found.images.pixels)
    correct = outputs.probabilities.argmax(1) == labels
    classes = {classifier.classes[label]: Proportion.of(correct[labels == label]) for label in np.unique(labels)}
    none = found.none if outputs.ood_score is not None else None
    return Photos(
        name=folder.resolve().name,
        sha256=found.sha256,
        accuracy=Proportion.of(correct),
        mean_class_accuracy=float(np.mean([part.value for part in classes.values()])),
        classes=classes,
        calibration=calibration.measure(outputs.probabilities, labels),
        expected_calibration_error_interval_95=calibration.expected_calibration_error_interval(
            outputs.probabilities, labels
        ),
        refused=None if outputs.is_ood is None else Proportion.of(outputs.is_ood),
        ood=None if none is None else ood.measure(outputs, predict(none)),
    )


def _class_folders(folder: Path, classes: Sequence[str]) -> list[str]:
    """The classes that have a folder, in the order of the labels."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give one with a folder of photos for each class")
    found = {item.name for item in folders.visible(folder) if item.is_dir()}
    if foreign := sorted(found - {*classes, NONE}):
        raise UserError(f"{folder} has {foreign[0]}/, not a class of the model; rename it, or move it into {NONE}/")
    if not found - {NONE}:
        raise UserError(f"{folder} has no folder with the name of a class ({', '.join(classes)})")
    return [name for name in classes if name in found]


def _digest(read: Mapping[str, LooseImages]) -> str:
    lines = "".join(f"{name} {images.sha256}\n" for name, images in read.items())
    return hashlib.sha256(lines.encode()).hexdigest()
