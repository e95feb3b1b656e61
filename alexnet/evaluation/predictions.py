"""The images of a split, and the predicted class of each as a Parquet file.

In and out: labels and predicted classes int64 [N], in the data's order. The file has the columns `label` and
`predicted`, both names of classes, and of an image folder `path`; it needs pyarrow.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from alexnet import datasets, files
from alexnet.datasets import Fingerprint, Images
from alexnet.errors import UserError
from alexnet.evaluation.metrics import Data, Split
from alexnet.inference.classifier import Classifier

FILE_NAME: Final = "predictions.parquet"

_COLUMNS: Final = ("label", "predicted")


@dataclass(frozen=True)
class SplitImages:
    """The images of a split, what `metrics.json` says about them, and of an image folder their paths."""

    images: Images
    data: Data
    paths: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Predictions:
    """`labels` and `predicted` int64 [N], positions in the model's classes; of an image folder also the `paths`."""

    labels: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    paths: tuple[str, ...] | None = None


def read_split(classifier: Classifier, model: Path, root: Path, split: Split) -> SplitImages:
    """The images of `split` in the data set at `root`.

    Raises `UserError` on damaged data, other classes, or a file that does not say what its run held out.
    """
    data = datasets.open(root, side=classifier.image_shape[0])
    trained = Fingerprint(classifier.classes, classifier.metadata.image_folder_sha256)
    if split == "test":
        test = data.test(trained, model)
        facts = Data(
            split=split,
            images=len(test.images),
            sha256=test.sha256,
            also_trained_on=test.also_trained_on,
            unreadable=test.unreadable,
        )
        return SplitImages(test.images, facts, test.paths)
    settings, trainer = classifier.metadata.settings, classifier.metadata.validation
    seed = None
    if settings is not None and trainer is not None:
        count, seed = settings.validation_images, settings.seed
    elif settings is None and data.own_validation:  # a linear probe, which learnt from the training images alone
        count = data.own_validation
    else:
        raise UserError(f"{model} does not say which images its run held out; export it with `alexnet export RUN`")
    parts = data.split_again(trained, count, seed or 0, model)
    facts = Data(
        split=split,
        images=len(parts.validation),
        sha256=data.training_sha256,
        seed=seed,
        training_images=len(parts.training),
        trainer=trainer,
    )
    return SplitImages(parts.validation, facts)


def write(path: Path, predictions: Predictions, classes: tuple[str, ...]) -> None:
    """Write `path`. Raises `UserError` where pyarrow is missing."""
    arrow, parquet = _pyarrow()
    names = arrow.array(classes)
    columns = {
        name: arrow.DictionaryArray.from_arrays(places.astype(np.int32), names)
        for name, places in zip(_COLUMNS, (predictions.labels, predictions.predicted), strict=True)
    }
    if predictions.paths is not None:
        columns = {"path": arrow.array(predictions.paths), **columns}
    with files.replacing(path) as partial:
        parquet.write_table(arrow.table(columns), partial, compression="zstd")


def read(path: Path, classes: tuple[str, ...], remedy: str) -> Predictions:
    """Read `path`. Raises `UserError`, which ends with `remedy`, where it cannot be read or names other `classes`."""
    arrow, parquet = _pyarrow()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; {remedy}") from error
    try:
        table = parquet.read_table(arrow.BufferReader(content)).select(_COLUMNS)
    except (arrow.ArrowException, OSError, KeyError) as error:
        raise UserError(f"{path}: not a Parquet file of predictions; {remedy}") from error
    places = {name: place for place, name in enumerate(classes)}
    try:
        labels, predicted = (
            np.array([places[name] for name in table[column].to_pylist()], np.int64) for column in _COLUMNS
        )
    except KeyError as error:
        raise UserError(f"{path}: names other classes than the model has; {remedy}") from error
    return Predictions(labels, predicted)


def _pyarrow() -> tuple[Any, Any]:
    import pyarrow
    from pyarrow import parquet

    return pyarrow, parquet
