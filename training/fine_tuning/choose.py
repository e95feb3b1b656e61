"""A probe against its fine-tuned network, on images that neither has learnt from.

In: an image folder and what `alexnet fit` found. Out: the fine-tuned model file where it is right more often, and a
line that says why.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from alexnet import datasets
from alexnet.datasets import ImageFolder, is_imbalanced
from alexnet.inference import batches
from alexnet.inference.classifier import Classifier
from alexnet.probe import logistic
from alexnet.probe.embeddings import describe_time
from alexnet.probe.fit import Fitted
from training import checkpoint, recipes, trainer
from training.fine_tuning import export
from training.settings import Settings

_RECIPE: Final = "custom"
_STEP_COST: Final = 2.5  # training on an image against its two views' features, both on a CPU
_BATCH: Final = 16


@dataclass(frozen=True)
class Choice:
    """The held-out accuracies of both, and the file of the fine-tuned network; `better` says whether that won."""

    probe: float
    fine_tuned: float
    images: int
    model: Path

    @property
    def better(self) -> bool:
        """Ties go to the probe, which learnt from all images."""
        return self.fine_tuned > self.probe


def fine_tune(fitted: Fitted, photos: Path, folder: Path, given: dict[str, Any]) -> Choice:
    """Train in `folder`, or resume what is there; `given` are settings beside the recipe's.

    Raises `UserError` as training does. A run of other photos or settings is replaced.
    """
    dataset = datasets.open(photos, side=given["image_size"])
    assert isinstance(dataset, ImageFolder)
    counts = np.bincount(fitted.labels)
    settings = recipes.settings(_RECIPE, {"class_weights": is_imbalanced(counts), **given})
    seconds = settings.epochs * fitted.seconds * _STEP_COST
    print(f"fine-tuning: {settings.epochs} epochs, about {describe_time(seconds)} without a GPU", flush=True)
    _train(dataset, photos, folder, settings)
    model = export.export(folder, photos, folder / "model.onnx", fitted.license_name)
    used = checkpoint.load(folder).settings
    held_out = dataset.held_out(used.validation_images, used.seed)
    validation = dataset.split(used.validation_images, used.seed, exact=False).validation
    found = batches.predict(Classifier(model), validation.pixels, _BATCH).probabilities.argmax(1)
    accuracy = float((found == validation.labels).mean())
    if held_out is None:  # validation/, which the probe has not seen
        theirs = batches.predict(Classifier(fitted.model), validation.pixels, _BATCH).probabilities.argmax(1)
        probe = float((theirs == validation.labels).mean())
    else:
        probe = _probe_accuracy(fitted, held_out)
    return Choice(probe, accuracy, len(validation), model)


def _train(dataset: ImageFolder, photos: Path, folder: Path, settings: Settings) -> None:
    """Resume the run in `folder`; one of other photos or settings is replaced."""
    last = folder / checkpoint.LAST
    if last.exists():
        saved = checkpoint.load(last)
        same = saved.settings.replace(epochs=settings.epochs, validation_images=settings.validation_images) == settings
        if same and saved.trained == dataset.fingerprint:
            if len(saved.epochs) < settings.epochs:
                trainer.resume(folder, photos, settings.epochs)
            return
        print(f"fine-tuning: the run in {folder} is of other photos or settings, and is replaced", flush=True)
        shutil.rmtree(folder)
    trainer.start(settings, photos, folder, exactly=False)


def _probe_accuracy(fitted: Fitted, held_out: npt.NDArray[np.bool_]) -> float:
    """That of a probe which was fitted without the images `held_out`."""
    rest = ~held_out
    penalty = fitted.penalty * len(held_out) / int(rest.sum())
    classes = int(fitted.labels.max()) + 1
    layer = logistic.fit_layer(fitted.features[rest], fitted.labels[rest], classes, penalty)
    found = layer(fitted.features[held_out].mean(1)).argmax(1)
    return float((found == fitted.labels[held_out]).mean())
