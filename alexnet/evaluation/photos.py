"""A model on photos: of its classes, which it was not trained on, and of anything else.

In: a folder with a folder of photos for each class, or for some, and, if wanted, `none/` with photos of none of the
classes; of any size. Out: the `Photos` of `metrics.json`. All are shrunk by the decoder, so that the OOD score cannot
tell the two kinds by how they were made.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from alexnet.datasets import folders, loose_images
from alexnet.datasets.loose_images import LooseImages
from alexnet.errors import UserError
from alexnet.evaluation import calibration, ood
from alexnet.evaluation.metrics import Photos, Proportion
from alexnet.inference.classifier import Classifier, Outputs

Predict = Callable[[npt.NDArray[np.uint8]], Outputs]

NONE: Final = "none"


def measure(classifier: Classifier, predict: Predict, folder: Path) -> Photos:
    """Accuracy, calibration and OOD detection on the photos in `folder`; `predict` gives the model's outputs.

    Raises `UserError` where a folder is not the name of a class, or nothing can be read.
    """
    height, width, _ = classifier.image_shape
    names = _class_folders(folder, classifier.classes)
    read = {name: loose_images.read(folder / name, height, width) for name in names}
    labels = np.concatenate([np.full(len(images), classifier.classes.index(name)) for name, images in read.items()])
    outputs = predict(np.concatenate([images.pixels for images in read.values()]))
    correct = outputs.probabilities.argmax(1) == labels
    classes = {name: Proportion.of(correct[labels == classifier.classes.index(name)]) for name in read}
    if has_none := NONE not in classifier.classes and (folder / NONE).is_dir():
        read[NONE] = loose_images.read(folder / NONE, height, width)
    scored = has_none and outputs.ood_score is not None
    return Photos(
        name=folder.resolve().name,
        sha256=_digest(read),
        accuracy=Proportion.of(correct),
        mean_class_accuracy=float(np.mean([part.value for part in classes.values()])),
        classes=classes,
        calibration=calibration.measure(outputs.probabilities, labels),
        expected_calibration_error_interval_95=calibration.expected_calibration_error_interval(
            outputs.probabilities, labels
        ),
        refused=None if outputs.is_ood is None else Proportion.of(outputs.is_ood),
        ood=ood.measure(outputs, predict(read[NONE].pixels)) if scored else None,
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
