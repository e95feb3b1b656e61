"""The files of a run to values: ours, as `train` and `evaluate` wrote them, and the published one.

In: a run's folder (`config.json`, `metrics.csv`, and in `test/` and `validation/` what `alexnet evaluate` wrote); the
published run's folder (`published.csv`, `published.json`, and `data.json`, which says what our copy of CIFAR-10 is made
of). Out: frozen values.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from alexnet.errors import UserError
from alexnet.evaluation import predictions
from alexnet.evaluation.metrics import FILE_NAME, Metrics, Split
from alexnet.evaluation.predictions import Predictions
from alexnet.markdown import Floats
from training.run_config import RunConfig

Record = TypeVar("Record", bound=BaseModel)

_CURVES: Final = ("training_loss", "training_accuracy", "validation_loss", "validation_accuracy")


@dataclass(frozen=True)
class Curves:
    """A value per epoch, float64 [epochs], the first of epoch 1: losses in nats per image, accuracies from 0 to 1.

    `seconds` is empty where it is not known, as for the published run.
    """

    training_loss: Floats
    training_accuracy: Floats
    validation_loss: Floats
    validation_accuracy: Floats
    seconds: Floats

    def __len__(self) -> int:
        return len(self.training_loss)


@dataclass(frozen=True)
class Run:
    """A run of ours, finished or not, and its best checkpoint measured on the test and on the validation images."""

    config: RunConfig
    curves: Curves
    test: Metrics
    validation: Metrics

    @property
    def best_epoch(self) -> int:
        """The epoch of the best checkpoint, counted from 1: the first with the highest validation accuracy."""
        return int(self.curves.validation_accuracy.argmax()) + 1

    @property
    def seed(self) -> int:
        """The seed of the split, new layers, data order and dropout."""
        return int(self.config.settings["seed"])


class PublishedFacts(BaseModel):
    """`published.json`: what the author printed beside the curves; `batches` and `images` by part."""

    hyperparameters: dict[str, str | int | float]
    batches: dict[str, int]
    images: dict[str, int]
    class_accuracy: dict[str, float]
    f1: float
    best_epoch_as_stated: int


class DataFile(BaseModel):
    """A file of our copy of CIFAR-10, and how many of its images are `approximate`: decoded from JPEG."""

    images: int
    approximate: int
    sha256: str


class DataCopy(BaseModel):
    """`data.json`: the provenance of our copy of CIFAR-10."""

    approximate_classes: dict[str, int]
    files: dict[str, DataFile]


@dataclass(frozen=True)
class Published:
    """The published run."""

    facts: PublishedFacts
    curves: Curves
    data: DataCopy

    @property
    def mean_class_accuracy(self) -> float:
        """The mean of the class accuracies: the accuracy, where all classes have the same number of images."""
        return float(np.mean(list(self.facts.class_accuracy.values())))


def read_run(folder: Path) -> Run:
    """Read a run. Raises `UserError` on a missing or damaged file, or files that do not belong together."""
    remedy = "give the folder of a run that `alexnet train` made"
    config = _read_json(RunConfig, folder / "config.json", remedy)
    curves = _read_curves(folder / "metrics.csv", remedy, timed=True)
    test, validation = _read_metrics(folder, "test"), _read_metrics(folder, "validation")
    if test.model.sha256 != validation.model.sha256:
        raise UserError(f"{folder}: test/ and validation/ were measured on different models; evaluate both again")
    if test.model.run != config.run:
        raise UserError(
            f"{folder}: test/ was measured on a model of run {test.model.run}, not {config.run}; "
            "export this run and evaluate it again"
        )
    run = Run(config, curves, test, validation)
    row = validation.data.trainer
    best = float(curves.validation_accuracy[run.best_epoch - 1])
    if row is None or (row.epoch, row.validation_accuracy) != (run.best_epoch, best):
        raise UserError(
            f"{folder}: metrics.csv is best at epoch {run.best_epoch}, but test/ and validation/ were measured on a "
            f"checkpoint of epoch {row.epoch if row else 'unknown'}; export the run again and evaluate that"
        )
    return run


def read_published(folder: Path) -> Published:
    """Read the published run. Raises `UserError` on a missing or damaged file."""
    remedy = "it is part of the repository: restore it with git, or name its folder with --published"
    return Published(
        _read_json(PublishedFacts, folder / "published.json", remedy),
        _read_curves(folder / "published.csv", remedy, timed=False),
        _read_json(DataCopy, folder / "data.json", remedy),
    )


def read_predictions(folder: Path, split: Split, metrics: Metrics) -> Predictions:
    """Read the predictions of a run's `split`. Raises `UserError` unless they are those that `metrics` sum up."""
    path, remedy = folder / split / predictions.FILE_NAME, _remedy(folder, split)
    found = predictions.read(path, tuple(metrics.classes), remedy)
    if len(found.labels) != metrics.data.images or float((found.labels == found.predicted).mean()) != metrics.accuracy:
        raise UserError(f"{path}: not the predictions that {FILE_NAME} beside it sums up; {remedy}")
    return found


def _read_metrics(folder: Path, split: Split) -> Metrics:
    path, remedy = folder / split, _remedy(folder, split)
    metrics = Metrics.read(path, remedy)
    if metrics.data.split != split:
        raise UserError(f"{path / FILE_NAME}: measured on {metrics.data.split} images; {remedy}")
    return metrics


def _remedy(folder: Path, split: Split) -> str:
    return f"make it with: alexnet evaluate MODEL --split {split} --predictions --output {folder / split}"


def _read_curves(path: Path, remedy: str, *, timed: bool) -> Curves:
    header, rows = _read_csv(path, remedy)
    try:
        wanted = ("epoch", *_CURVES, "seconds")
        columns = {name: np.array([float(row[i]) for row in rows]) for i, name in enumerate(header) if name in wanted}
        if not rows or columns["epoch"].tolist() != list(range(1, len(rows) + 1)):
            raise ValueError
        seconds = columns["seconds"] if timed else np.empty(0)
        return Curves(**{name: columns[name] for name in _CURVES}, seconds=seconds)
    except (KeyError, IndexError, ValueError) as error:
        raise UserError(f"{path}: not a table of one row per epoch, from epoch 1 on; {remedy}") from error


def _read_csv(path: Path, remedy: str) -> tuple[tuple[str, ...], list[list[str]]]:
    lines = list(csv.reader(_read_text(path, remedy).splitlines()))
    return (tuple(lines[0]), lines[1:]) if lines else ((), [])


def _read_json(kind: type[Record], path: Path, remedy: str) -> Record:
    try:
        return kind.model_validate_json(_read_text(path, remedy))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: {place + ': ' if place else ''}{first['msg']}; {remedy}") from error


def _read_text(path: Path, remedy: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; {remedy}") from error
