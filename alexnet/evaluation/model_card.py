"""The card of a model: what its file and its metrics say, as a page for people.

In: a folder with `model.onnx` and `metrics.json`, and the test images. Out: `README.md` and `hardest.png` in that
folder. The page follows from the two files alone; the images are for the picture.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from alexnet import files
from alexnet.datasets import cifar10, dataset
from alexnet.errors import UserError
from alexnet.evaluation import card_page, evaluate
from alexnet.inference.classifier import Classifier

MODEL: Final = "model.onnx"
PAGE: Final = "README.md"
PAIRS: Final = 5
_SAMPLES: Final = 8

_RESAMPLES: Final = 2_000


@dataclass(frozen=True)
class Pair:
    """Two classes that are taken for each other: `swapped[0]` images of the first for the second, `swapped[1]` back."""

    names: tuple[str, str]
    swapped: tuple[int, int]


@dataclass(frozen=True)
class Sample:
    """A test image that was taken for a class with that probability: its `number` from 0 in the order of the data, and
    its `pixels` uint8 [32, 32, 3].
    """

    number: int
    pixels: npt.NDArray[np.uint8]
    label: str
    predicted: str
    probability: float


def card(folder: Path, data_root: Path) -> Path:
    """Write the page and the picture of the model in `folder`; returns the page.

    Raises `UserError` where a file is missing or `metrics.json` is of another model, and without matplotlib.
    """
    try:
        from training.reproduction import report
    except ImportError as error:
        raise UserError(f"the card needs {error.name}: pip install 'alexnet-cifar10[train]'") from error
    classifier, metrics = read(folder)
    pairs = hardest(np.array(metrics["confusion"]), classifier.classes)
    images, _ = dataset.read_test(data_root, classifier.classes)
    rows = samples(classifier, images, pairs)
    report.plot_samples(folder / card_page.HARDEST, rows)
    with files.replacing(folder / PAGE) as partial:
        partial.write_text(_page(classifier, metrics, pairs), encoding="utf-8")
    return folder / PAGE


def render(folder: Path) -> str:
    """The page of the model in `folder`. Raises `UserError` as `card`."""
    classifier, metrics = read(folder)
    return _page(classifier, metrics, hardest(np.array(metrics["confusion"]), classifier.classes))


def _page(classifier: Classifier, metrics: dict[str, Any], pairs: list[Pair]) -> str:
    rows = [(*pair.names, *pair.swapped) for pair in pairs]
    return card_page.render(classifier.metadata, metrics, rows, f1_interval(np.array(metrics["confusion"])))


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


def hardest(confusion: npt.NDArray[np.int64], classes: tuple[str, ...]) -> list[Pair]:
    """The pairs of classes that are taken for each other most often, in either direction; at most `PAIRS`."""
    both = np.triu(confusion + confusion.T, 1)
    order = np.argsort(-both, axis=None, kind="stable")[:PAIRS]
    places = [divmod(int(place), len(classes)) for place in order]
    return [
        Pair((classes[a], classes[b]), (int(confusion[a, b]), int(confusion[b, a]))) for a, b in places if both[a, b]
    ]


def samples(classifier: Classifier, images: cifar10.Images, pairs: list[Pair]) -> list[list[Sample]]:
    """For each pair the images that were confused with the highest probability, at most `_SAMPLES`."""
    probabilities = evaluate.answer_all(classifier, images.pixels, batch_size=256).probabilities
    predicted = probabilities.argmax(1)
    rows = []
    for pair in pairs:
        first, second = (classifier.classes.index(name) for name in pair.names)
        confused = ((images.labels == first) & (predicted == second)) | (
            (images.labels == second) & (predicted == first)
        )
        found = np.flatnonzero(confused)
        found = found[np.argsort(-probabilities[found].max(1), kind="stable")][:_SAMPLES]
        rows.append(
            [
                Sample(
                    int(number),
                    images.pixels[number],
                    classifier.classes[images.labels[number]],
                    classifier.classes[predicted[number]],
                    float(probabilities[number].max()),
                )
                for number in found
            ]
        )
    return rows


def f1_interval(confusion: npt.NDArray[np.int64], confidence: float = 0.95) -> tuple[float, float]:
    """The percentile interval of macro F1 over test sets drawn anew, class by class, as often as each class is there
    (the bootstrap; Efron, Annals of Statistics 7, 1979). Seeded: the same matrix gives the same interval.
    """
    generator = np.random.default_rng(0)
    support = confusion.sum(1)
    shares = confusion / np.maximum(support[:, None], 1)
    values = []
    for _ in range(_RESAMPLES):
        drawn = np.stack([generator.multinomial(n, share) for n, share in zip(support, shares, strict=True)])
        values.append((2 * drawn.diagonal() / np.maximum(drawn.sum(0) + drawn.sum(1), 1)).mean())
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
