"""The files of a run to values: ours, as `train` and `evaluate` wrote them, and the published one.

In: a run's folder (`config.json`, `metrics.csv`, and in `test/` and `validation/` the `metrics.json` and
`predictions.csv` of `alexnet evaluate --predictions`); the published run's folder (`published.csv`, `published.json`,
and `data.json`, which says what our copy of CIFAR-10 is made of). Out: frozen values, float64 and int64. numpy only.
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from alexnet.errors import UserError
from alexnet.evaluation import evaluate
from alexnet.evaluation.evaluate import Split

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

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
class Measurement:
    """What `evaluate` found on one split: `labels` and `predicted` int64 [N] in the data's order, and `metrics`."""

    labels: Ints
    predicted: Ints
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """A run of ours, finished or not, and its chosen checkpoint on the test and on the validation images."""

    config: dict[str, Any]
    curves: Curves
    test: Measurement
    validation: Measurement

    @property
    def best_epoch(self) -> int:
        """The epoch of the chosen checkpoint, counted from 1: the first of the highest validation accuracy."""
        return int(self.curves.validation_accuracy.argmax()) + 1


@dataclass(frozen=True)
class Published:
    """The published run: `facts` is `published.json`, `data` is `data.json`."""

    facts: dict[str, Any]
    curves: Curves
    data: dict[str, Any]

    @property
    def mean_class_accuracy(self) -> float:
        """The mean of the class accuracies: the accuracy, where every class has as many images."""
        return float(np.mean(list(self.facts["class_accuracy"].values())))


def read_run(folder: Path) -> Run:
    """Read a run. Raises `UserError` on a missing or damaged file, or files that do not belong together."""
    remedy = "give the folder of a run that `alexnet train` made"
    config = _read_json(folder / "config.json", remedy)
    curves = _read_curves(folder / "metrics.csv", remedy, timed=True)
    test, validation = _read_measurement(folder, "test"), _read_measurement(folder, "validation")
    models = [item.metrics["model"] for item in (test, validation)]
    if models[0]["sha256"] != models[1]["sha256"]:
        raise UserError(f"{folder}: test/ and validation/ were measured on different models; evaluate both again")
    if models[0]["run"] != config["run"]:
        raise UserError(
            f"{folder}: test/ was measured on a model of run {models[0]['run']}, not {config['run']}; "
            "export this run and evaluate it again"
        )
    run = Run(config, curves, test, validation)
    row = validation.metrics["data"].get("row_of_the_trainer") or {}
    best = float(curves.validation_accuracy[run.best_epoch - 1])
    if (row.get("epoch"), row.get("validation_accuracy")) != (run.best_epoch, best):
        raise UserError(
            f"{folder}: metrics.csv is best at epoch {run.best_epoch}, but test/ and validation/ were measured on a "
            f"checkpoint of epoch {row.get('epoch', 'unknown')}; export the run again and evaluate that"
        )
    return run


def read_published(folder: Path) -> Published:
    """Read the published run. Raises `UserError` on a missing or damaged file."""
    remedy = "it is part of the repository: restore it with git, or name its folder with --published"
    return Published(
        _read_json(folder / "published.json", remedy),
        _read_curves(folder / "published.csv", remedy, timed=False),
        _read_json(folder / "data.json", remedy),
    )


def _read_measurement(folder: Path, split: Split) -> Measurement:
    path = folder / split
    remedy = f"make it with: alexnet evaluate MODEL --split {split} --predictions --output {path}"
    metrics = _read_json(path / evaluate.METRICS, remedy)
    place = {name: i for i, name in enumerate(metrics["classes"])}
    header, rows = _read_csv(path / evaluate.PREDICTIONS, remedy)
    try:
        values = np.array([[place[name] for name in row] for row in rows], np.int64)
    except (KeyError, ValueError):
        values = np.empty((0, 0), np.int64)
    if header != evaluate.PREDICTIONS_HEADER or values.shape != (metrics["data"]["images"], len(header)):
        raise UserError(f"{path / evaluate.PREDICTIONS}: not a line for each image of {evaluate.METRICS}; {remedy}")
    labels, predicted = values.T
    if metrics["data"]["split"] != split or float((labels == predicted).mean()) != metrics["accuracy"]:
        raise UserError(f"{path}: {evaluate.METRICS} and {evaluate.PREDICTIONS} do not belong together; {remedy}")
    return Measurement(labels, predicted, metrics)


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
        raise UserError(f"{path}: not a table of one line per epoch, from epoch 1 on; {remedy}") from error


def _read_csv(path: Path, remedy: str) -> tuple[tuple[str, ...], list[list[str]]]:
    lines = list(csv.reader(_read_text(path, remedy).splitlines()))
    return (tuple(lines[0]), lines[1:]) if lines else ((), [])


def _read_json(path: Path, remedy: str) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(_read_text(path, remedy))
    except ValueError as error:
        raise UserError(f"{path}: not whole JSON; {remedy}") from error
    return value


def _read_text(path: Path, remedy: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; {remedy}") from error
