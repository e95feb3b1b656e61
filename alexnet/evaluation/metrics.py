"""The type of `metrics.json`: what was measured of a model file, on which images, and with what.

`alexnet evaluate` writes the file beside the model; the card, the report and the service read it, all through here.
Accuracies, F1 scores, rates and errors lie between 0 and 1; intervals are those of 95 % confidence.
"""

from pathlib import Path
from typing import Final, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from alexnet import files
from alexnet.errors import UserError
from alexnet.evaluation.intervals import Interval, wilson
from alexnet.inference.metadata import Calibration, Environment, ValidationMetrics

FILE_NAME: Final = "metrics.json"

Split = Literal["test", "validation"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelFile(_Record):
    """The model file that was measured; `run` is the name of the run that trained it."""

    name: str
    sha256: str
    bytes: int
    run: str | None = None


class Data(_Record):
    """The images of a split; `sha256` in hexadecimal by name of a file or part.

    Of test images in a folder: `also_trained_on`, how many files lie in the training part too, and `unreadable`, how
    many were left out. Of validation images: the `seed` that drew them, how many `training_images` were left, and what
    the `trainer` measured on them, before export.
    """

    split: Split
    images: int
    sha256: dict[str, str]
    also_trained_on: int | None = None
    unreadable: int | None = None
    seed: int | None = None
    training_images: int | None = None
    trainer: ValidationMetrics | None = None


class Proportion(_Record):
    """A proportion of `images`, with Wilson's interval."""

    images: int
    value: float
    interval_95: Interval

    @classmethod
    def of(cls, counted: npt.NDArray[np.bool_]) -> Self:
        """The proportion of true values in bool [N]."""
        return cls(
            images=len(counted), value=float(counted.mean()), interval_95=wilson(int(counted.sum()), len(counted))
        )


class ClassScores(_Record):
    """The scores of one class; its accuracy is its recall."""

    accuracy: float
    precision: float
    f1: float
    support: int


class OodSet(_Record):
    """How well the OOD score tells `images` of none of the classes from in-distribution ones.

    `refused` is the fraction of them over the model's own threshold. `sha256` is that of all files, for sets that were
    read from disk.
    """

    images: int
    auroc: float
    auroc_interval_95: Interval
    fpr_at_95_tpr: float
    fpr_at_95_tpr_interval_95: Interval
    refused: float
    sha256: str | None = None


class Ood(_Record):
    """Out-of-distribution detection: `refused` is the fraction of the split's own images over the model's threshold."""

    refused: float
    sets: dict[str, OodSet] = {}


class Corruptions(_Record):
    """The accuracy under the common corruptions of CIFAR-10-C, and on the same images without (`clean`).

    `source` says whether the images were generated (from a random subset drawn with `seed`) or read.
    """

    images: int
    source: str
    seed: int | None = None
    clean: Proportion
    mean: float
    mean_by_severity: dict[int, float]
    kinds: dict[str, dict[int, Proportion]]
    environment: Environment


class Photos(_Record):
    """Photos of the classes, shrunk by the decoder; and, where there are any, photos of none of them (`ood`)."""

    name: str
    sha256: str
    accuracy: Proportion
    mean_class_accuracy: float
    classes: dict[str, Proportion]
    calibration: Calibration
    expected_calibration_error_interval_95: Interval
    refused: Proportion | None = None
    ood: OodSet | None = None


class LabelErrors(_Record):
    """The accuracy where the labels of the data set are replaced by those that `source` gives.

    `changed` labels differ; `left_out` images have no label that most people agree on. `unchanged` is the accuracy with
    the original labels on the same images.
    """

    source: str
    sha256: str
    changed: int
    left_out: int
    accuracy: Proportion
    unchanged: Proportion


class OtherTestSet(_Record):
    """The accuracy on another test set of the same classes."""

    sha256: str
    accuracy: Proportion


class Parity(_Record):
    """How answers elsewhere, of torch (`torch`) or of a service (`http`), differ from the file's own."""

    images: int
    different_classes: int
    largest_difference: float
    different_ood: int | None = None
    environment: Environment


class Metrics(_Record):
    """All that was measured of a model file. `confusion` has true classes as rows and predicted ones as columns."""

    model: ModelFile
    data: Data
    accuracy: float
    accuracy_interval_95: Interval
    macro_f1: float
    weighted_f1: float
    classes: dict[str, ClassScores]
    confusion: tuple[tuple[int, ...], ...]
    calibration: Calibration
    ood: Ood | None = None
    corruptions: Corruptions | None = None
    photos: Photos | None = None
    cifar10_1: OtherTestSet | None = None
    label_errors: LabelErrors | None = None
    parity: dict[str, Parity] = {}
    environment: Environment

    def write(self, folder: Path) -> Path:
        """Write `metrics.json` into `folder`; returns its path. What is None is left out."""
        path = folder / FILE_NAME
        files.write_json(path, self.model_dump(mode="json", exclude_none=True))
        return path

    @classmethod
    def read(cls, folder: Path, remedy: str) -> Self:
        """Read `metrics.json` in `folder`. Raises `UserError`, which ends with `remedy`, where that is impossible."""
        path = folder / FILE_NAME
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; {remedy}") from error
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise UserError(f"{path}: {place + ': ' if place else ''}{first['msg']}; {remedy}") from error

    @classmethod
    def find(cls, folder: Path, sha256: str) -> Self | None:
        """The metrics in `folder`; None where there are none, or they are of another model file than `sha256`."""
        try:
            found = cls.read(folder, "")
        except UserError:
            return None
        return found if found.model.sha256 == sha256 else None
