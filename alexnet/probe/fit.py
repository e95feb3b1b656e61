"""The work of `alexnet fit`: an image folder to a model file.

In: a folder with images in folders of their classes. Out: `model.onnx`, a linear probe that is calibrated and has an
OOD score. No torch; a progress bar on standard error, a line for each step on standard output.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
from rich.console import Console
from rich.progress import Progress

from alexnet import datasets, environment, files
from alexnet.datasets import ImageFolder
from alexnet.errors import UserError
from alexnet.evaluation.calibration import measure, negative_log_likelihood, softmax
from alexnet.evaluation.ood import threshold
from alexnet.inference import shrink
from alexnet.inference.classifier import Classifier
from alexnet.inference.metadata import ModelMetadata
from alexnet.paths import FEATURES
from alexnet.probe import embeddings, graph, logistic, ood
from alexnet.probe.graph import Head
from alexnet.probe.logistic import FOLDS, Probe

Floats = npt.NDArray[np.float32]

_NAME: Final = "alexnet-probe"
_MOST_HELD_OUT: Final = 2_000  # images in the cross-validation
_TEMPERATURES: Final = np.geomspace(0.2, 5.0, 161)
_CHECKED: Final = 8  # images on which numpy and ONNX Runtime are compared
_TOLERANCE: Final = 1e-3  # of a probability, between numpy and ONNX Runtime


@dataclass(frozen=True)
class Fitted:
    """The model file, and its accuracy in cross-validation.

    `features` float32 [N, views, D] and `labels` int64 [N] are those of the images that it was fitted on, `penalty` is
    that of the regression. `seconds` is how long the features took.
    """

    model: Path
    accuracy: float
    features: Floats
    labels: npt.NDArray[np.int64]
    penalty: float
    seconds: float
    license_name: str | None = None


def fit(data: Path, output: Path, side: int, seed: int, license_name: str | None = None) -> Fitted:
    """Write `output`/model.onnx from the images in `data`, seen at `side` x `side` pixels; `seed` draws the folds.

    `license_name` is for the model's card. Raises `UserError` on a folder that cannot be learnt from.
    """
    if side < graph.SMALLEST:
        raise UserError(f"--image-size is {side}; give {graph.SMALLEST} or more")
    dataset = datasets.open(data, side=side)
    if not isinstance(dataset, ImageFolder):
        raise UserError(f"{data} has CIFAR-10: train on it with `alexnet train`; fit takes a folder of photos")
    start = time.perf_counter()
    dataset.prepare()
    part, classes = dataset.train, dataset.classes
    labels = part.images.labels
    features = embeddings.extract_cached(part, data)
    took = time.perf_counter() - start
    print(f"features: {len(labels)} images of {len(classes)} classes at {side} x {side} pixels, {took:.0f} s")

    folds = logistic.draw_folds(labels, part.digests, seed, _MOST_HELD_OUT)
    probe = _fit_probe(features, labels, folds, len(classes))
    held_out = labels[probe.held_out]
    accuracy = float((probe.logits.argmax(1) == held_out).mean())
    print(f"probe: accuracy {accuracy:.3f} in {FOLDS}-fold cross-validation, penalty {probe.penalty:g}")

    mean = features.mean(1)
    temperature = fit_temperature(probe.logits, held_out)
    components = ood.components(len(probe.held_out), mean.shape[1])
    scores = ood.held_out_scores(mean, labels, folds, len(classes), components)
    metadata = ModelMetadata(
        name=_NAME,
        classes=classes,
        temperature=temperature,
        ood_threshold=threshold(scores),
        resize_filter=shrink.FILTER.name,
        license=license_name,
        run=output.resolve().name,
        init_sha256=files.sha256(FEATURES),
        training_images=len(labels),
        image_folder_sha256=dataset.fingerprint.sha256,
        uncalibrated=measure(softmax(probe.logits), held_out),
        exported_with=environment.describe("numpy", "onnx", "onnxruntime", "pillow"),
    )
    score = ood.fit(mean, labels, len(classes), components)
    output.mkdir(parents=True, exist_ok=True)
    model = output / "model.onnx"
    with files.replacing(model) as partial:
        onnx.save(graph.classifier(side, Head(probe.layer, temperature, score), metadata), partial)
        _check(Classifier(partial), part.images.pixels, softmax(probe.layer(mean[:_CHECKED]) / temperature))
    print(f"model: {model}, {model.stat().st_size / 1e6:.1f} MB, temperature {temperature:.2f}")
    return Fitted(model, accuracy, features, labels, probe.penalty, took, license_name)


def fit_temperature(logits: Floats, labels: npt.NDArray[np.int64]) -> float:
    """The temperature from 0.2 to 5 at which held-out `logits` have the lowest negative log-likelihood."""
    losses = [negative_log_likelihood(softmax(logits / value), labels) for value in _TEMPERATURES]
    return round(float(_TEMPERATURES[int(np.argmin(losses))]), 4)


def _fit_probe(features: Floats, labels: npt.NDArray[np.int64], folds: npt.NDArray[np.int64], classes: int) -> Probe:
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("cross-validation", total=FOLDS)
        return logistic.fit_probe(features, labels, folds, classes, lambda done: progress.update(task, completed=done))


def _check(classifier: Classifier, pixels: npt.NDArray[np.uint8], expected: npt.NDArray[np.float64]) -> None:
    """Raise `UserError` where the file does not give the `expected` probabilities [M, classes] of the first images."""
    found = classifier.run(np.ascontiguousarray(pixels[: len(expected)])).probabilities
    difference = float(np.abs(found - expected).max())
    if not difference <= _TOLERANCE:
        raise UserError(f"not written: numpy and ONNX Runtime differ by {difference:.1e}; update onnxruntime")
