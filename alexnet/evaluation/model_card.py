"""The card of a model: what its file and its metrics say, as a page for people.

In: a folder with `model.onnx` and `metrics.json`, and the test images. Out: `README.md` and `hardest.png` in that
folder. The page follows from the two files alone; the images are for the picture.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from alexnet import datasets, files
from alexnet.datasets import Fingerprint
from alexnet.errors import UserError
from alexnet.evaluation import card_page, evaluate
from alexnet.evaluation.scores import Pair, confused_samples, hardest_pairs, macro_f1_interval
from alexnet.inference.classifier import Classifier

MODEL: Final = "model.onnx"
PAGE: Final = "README.md"


def card(folder: Path, data_root: Path) -> Path:
    """Write the page and the picture of the model in `folder`; returns the page.

    Raises `UserError` where a file is missing or `metrics.json` is of another model, and without matplotlib.
    """
    try:
        from alexnet.evaluation import plots
    except ImportError as error:
        raise UserError(f"the card needs {error.name}: pip install 'alexnet-cifar10[train]'") from error
    classifier, metrics = read(folder)
    pairs = hardest_pairs(np.array(metrics["confusion"]), classifier.classes)
    trained = Fingerprint(classifier.classes, classifier.metadata.image_folder_sha256)
    images = datasets.open(data_root).test(trained, folder / MODEL).images
    probabilities = evaluate.answer_all(classifier, images.pixels, batch_size=256).probabilities
    plots.plot_samples(folder / card_page.HARDEST, confused_samples(images, probabilities, classifier.classes, pairs))
    with files.replacing(folder / PAGE) as partial:
        partial.write_text(_page(classifier, metrics, pairs), encoding="utf-8")
    return folder / PAGE


def render(folder: Path) -> str:
    """The page of the model in `folder`. Raises `UserError` as `card`."""
    classifier, metrics = read(folder)
    return _page(classifier, metrics, hardest_pairs(np.array(metrics["confusion"]), classifier.classes))


def _page(classifier: Classifier, metrics: dict[str, Any], pairs: Sequence[Pair]) -> str:
    interval = macro_f1_interval(np.array(metrics["confusion"]))
    return card_page.render(classifier.metadata, metrics, pairs, interval)


def read(folder: Path) -> tuple[Classifier, dict[str, Any]]:
    """The model in `folder`, and its numbers. Raises `UserError` where they are not there or do not belong together."""
    classifier = Classifier(folder / MODEL)
    path = folder / evaluate.METRICS
    remedy = f"run: alexnet evaluate {folder / MODEL}"
    try:
        metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {error}; {remedy}") from error
    if metrics["model"]["sha256"] != classifier.sha256:
        raise UserError(f"{path} is of another model than {folder / MODEL}; {remedy}")
    return classifier, metrics
