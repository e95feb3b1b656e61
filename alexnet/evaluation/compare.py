"""Two models on the same images: which is right more often, and whether that may be chance.

In: two ONNX files of the same classes, and the images of a split. Out: how often both, one or none is right, McNemar's
test and the difference of the accuracies with its interval, as a table or as JSON. Torch is not needed.
"""

import json
from dataclasses import dataclass
from math import comb, erfc, sqrt
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console
from rich.table import Table

from alexnet.errors import UserError
from alexnet.evaluation.intervals import paired_difference, wilson
from alexnet.evaluation.metrics import Data, Split
from alexnet.evaluation.predictions import read_split
from alexnet.inference import batches
from alexnet.inference.classifier import Classifier

_FEW: Final = 25  # pairs that differ, below which the chi-squared distribution is too coarse
_LEVEL: Final = 0.05


@dataclass(frozen=True)
class Side:
    """One of the two models, and how many images it is right about."""

    path: Path
    sha256: str
    right: int


@dataclass(frozen=True)
class Comparison:
    """Both models, the images by who is right about them, and what `metrics.json` would say about the images."""

    first: Side
    second: Side
    both_right: int
    only_first: int
    only_second: int
    both_wrong: int
    data: Data

    @property
    def images(self) -> int:
        """How many images there are."""
        return self.both_right + self.only_first + self.only_second + self.both_wrong

    @property
    def difference(self) -> float:
        """Accuracy of the second less that of the first."""
        return (self.only_second - self.only_first) / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the difference."""
        return paired_difference(self.only_first, self.only_second, self.images)

    @property
    def p_value(self) -> float:
        """How probable a difference of this size or more is between models that are equally good."""
        return mcnemar(self.only_first, self.only_second)


def compare(first: Path, second: Path, data_root: Path, *, split: Split = "test", batch_size: int = 256) -> Comparison:
    """Ask both models about the images of `split`.

    Raises `UserError` on an unusable model, other classes, other images held out, or damaged data.
    """
    if batch_size < 1:
        raise UserError(f"--batch-size is {batch_size}; give 1 or more")
    paths, classifiers = (first, second), (Classifier(first), Classifier(second))
    if classifiers[0].classes != classifiers[1].classes:
        names = (", ".join(classifier.classes) for classifier in classifiers)
        raise UserError(
            f"{first} knows {next(names)}; {second} knows {next(names)}: compare models of the same classes"
        )
    read, other = (
        read_split(classifier, path, data_root, split) for classifier, path in zip(classifiers, paths, strict=True)
    )
    images = read.images
    if not np.array_equal(images.pixels, other.images.pixels):
        raise UserError("the runs of the two models held out different images; compare them with --split test")
    right = [
        batches.predict(classifier, images.pixels, batch_size).probabilities.argmax(1) == images.labels
        for classifier in classifiers
    ]
    a, b = right
    return Comparison(
        first=Side(first, classifiers[0].sha256, int(a.sum())),
        second=Side(second, classifiers[1].sha256, int(b.sum())),
        both_right=int((a & b).sum()),
        only_first=int((a & ~b).sum()),
        only_second=int((~a & b).sum()),
        both_wrong=int((~a & ~b).sum()),
        data=read.data,
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """McNemar's test (Psychometrika 12, 1947, p. 153), two-sided: a p-value from the pairs in which one alone is right.

    Of fewer than 25 such pairs the exact binomial probability; of more, the chi-squared distribution of one degree of
    freedom with Edwards' correction for continuity (Psychometrika 13, 1948, p. 185).
    """
    pairs, fewer = only_first + only_second, min(only_first, only_second)
    if pairs < _FEW:
        ways = sum(comb(pairs, count) for count in range(fewer + 1))
        return min(1.0, 2 * ways / (1 << pairs))
    statistic = float(max(0, abs(only_first - only_second) - 1)) ** 2 / pairs
    return erfc(sqrt(statistic / 2))


def verdict(found: Comparison) -> str:
    """One sentence: which model is better, or that it cannot be told."""
    low, high = (100 * bound for bound in found.interval)
    facts = f"(95 % interval of B less A: {low:+.2f} to {high:+.2f} points, p = {_show(found.p_value)})"
    if found.p_value >= _LEVEL:
        return f"These {found.images:,} images do not tell which is better {facts}."
    better, worse = "BA" if found.difference > 0 else "AB"
    return f"{better} is right more often than {worse}, by {abs(100 * found.difference):.2f} points {facts}."


def to_json(found: Comparison) -> str:
    """The comparison for programs; `first` is A, and `difference` is B less A."""
    models = {
        name: {
            "path": str(side.path),
            "sha256": side.sha256,
            "accuracy": side.right / found.images,
            "accuracy_interval_95": list(wilson(side.right, found.images)),
        }
        for name, side in (("first", found.first), ("second", found.second))
    }
    counts = {name: getattr(found, name) for name in ("both_right", "only_first", "only_second", "both_wrong")}
    exact = found.only_first + found.only_second < _FEW
    tested = {
        "difference": found.difference,
        "difference_interval_95": list(found.interval),
        "p_value": found.p_value,
        "test": "McNemar, exact" if exact else "McNemar, with correction for continuity",
        "verdict": verdict(found),
    }
    return json.dumps(
        {
            **models,
            "data": found.data.model_dump(mode="json", include={"split", "images", "sha256"}),
            **counts,
            **tested,
        },
        indent=2,
        ensure_ascii=False,
    )


def show(found: Comparison) -> None:
    """Print the two models, the table of four counts, and the verdict."""
    console = Console(highlight=False, soft_wrap=True)
    for name, side in (("A", found.first), ("B", found.second)):
        low, high = wilson(side.right, found.images)
        accuracy = f"accuracy {side.right / found.images:.4f} (95 % interval {low:.4f} to {high:.4f})"
        console.print(f"{name}: {side.path}, sha256 {side.sha256[:12]}, {accuracy}", markup=False)
    table = Table(title=f"{found.images:,} {found.data.split} images")
    table.add_column("")
    table.add_column("B right", justify="right")
    table.add_column("B wrong", justify="right")
    table.add_row("A right", f"{found.both_right:,}", f"{found.only_first:,}")
    table.add_row("A wrong", f"{found.only_second:,}", f"{found.both_wrong:,}")
    console.print(table)
    console.print(verdict(found))


def _show(p_value: float) -> str:
    return f"{p_value:.4f}" if p_value >= 0.0001 else f"{p_value:.1e}"
