"""Numbers to pictures and pages. The only module that imports matplotlib.

In: a confusion matrix, images that were confused, or the files of our run and of the published one. Out: PNG files and
`reproduction.md`. The same numbers give the same bytes.
"""

import glob
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet import files
from alexnet.evaluation.calibration import Reliability
from alexnet.evaluation.model_card import Sample
from training.reproduction import compare, page, riddles, runs
from training.reproduction.compare import Comparison

PAGE: Final = "reproduction.md"

_OURS: Final = "tab:blue"
_THEIRS: Final = "tab:orange"
_DPI: Final = 110


def report(run: Path, published: Path, output: Path) -> Path:
    """Compare the run in the folder `run` with the one in `published`; returns the page, `output`/reproduction.md.

    Folders beside `run` that are called like it with `-seed-` and a number hold the same run with other seeds. Raises
    `UserError` on a missing or damaged file.
    """
    others = [runs.read_run(folder) for folder in sorted(run.parent.glob(f"{glob.escape(run.name)}-seed-*"))]
    comparison = compare.compare(runs.read_run(run), runs.read_published(published), others)
    for name, plot in (
        (page.LOSS, plot_losses),
        (page.CLASS_ACCURACY, plot_class_accuracy),
        (riddles.VALIDATION_ACCURACY, plot_validation_accuracy),
    ):
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        plot(output / name, comparison)
    with files.replacing(output / PAGE) as partial:
        partial.write_text(page.render(comparison), encoding="utf-8")
    return output / PAGE


def plot_losses(path: Path, comparison: Comparison) -> None:
    """Draw training and validation loss of both runs over the epochs as the PNG `path`."""
    figure, axes = _figure()
    for whose, colour, curves in (
        ("published", _THEIRS, comparison.published.curves),
        ("ours", _OURS, comparison.run.curves),
    ):
        _draw(axes, curves.training_loss, colour, "--", f"training, {whose}")
        _draw(axes, curves.validation_loss, colour, "-", f"validation, {whose}")
    axes.set(xlabel="epoch", ylabel="loss in nats per image", ylim=(0, None))
    axes.legend()
    _save(figure, path)


def plot_validation_accuracy(path: Path, comparison: Comparison) -> None:
    """Draw the validation accuracy of both runs, pooled with training and alone, as the PNG `path`."""
    figure, axes = _figure()
    solved, error = comparison.solved, comparison.solved_error
    _draw(axes, comparison.published.curves.validation_accuracy, _THEIRS, "--", "published, as printed")
    _draw(axes, comparison.pooled, _OURS, "--", "ours, pooled with training")
    _draw(axes, solved, _THEIRS, "-", "published, solved for validation alone (band: rounding)")
    epochs = np.arange(1, len(solved) + 1)
    axes.fill_between(epochs, solved - error, solved + error, color=_THEIRS, alpha=0.2, linewidth=0)
    _draw(axes, comparison.run.curves.validation_accuracy, _OURS, "-", "ours, validation alone")
    axes.set(xlabel="epoch", ylabel="accuracy")
    axes.legend(loc="lower right")
    _save(figure, path)


def plot_class_accuracy(path: Path, comparison: Comparison) -> None:
    """Draw the test accuracy of each class in both runs as the PNG `path`."""
    figure, axes = _figure()
    places, width = np.arange(len(comparison.class_accuracy)), 0.4
    theirs, ours = zip(*comparison.class_accuracy.values(), strict=True)
    for shift, whose, colour, values in ((-width / 2, "published", _THEIRS, theirs), (width / 2, "ours", _OURS, ours)):
        bars = axes.bar(places + shift, values, width, color=colour, label=whose)
        axes.bar_label(bars, fmt="%.3f", rotation=90, padding=3, fontsize=8)
    axes.set_xticks(places, list(comparison.class_accuracy), rotation=30, ha="right")
    axes.set(ylabel="test accuracy", ylim=(0, 1.15), yticks=np.linspace(0, 1, 6))
    axes.legend(loc="upper center", ncols=2)
    _save(figure, path)


def plot_confusion(path: Path, confusion: npt.NDArray[np.int64], classes: Sequence[str]) -> None:
    """Draw a confusion matrix int64 [classes, classes] (rows true, columns predicted) as the PNG `path`.

    The colour is the share of the true class, so that classes of unequal size compare; the numbers are counts.
    """
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    side = 2 + 0.55 * len(classes)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xticks=range(len(classes)), yticks=range(len(classes)), xlabel="predicted class", ylabel="true class")
    axes.set_xticklabels(classes, rotation=45, ha="right")
    axes.set_yticklabels(classes)
    for row, column in np.ndindex(confusion.shape):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(confusion[row, column]), ha="center", va="center", color=colour, fontsize=8)
    _save(figure, path)


def plot_reliability(path: Path, curves: Mapping[str, Reliability]) -> None:
    """Draw, for each name, the accuracy over the confidence of its bins as the PNG `path`, with the calibration error.

    A dot's area is the share of images in its bin.
    """
    figure = Figure(figsize=(5.5, 5.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    for (name, found), colour in zip(curves.items(), (_OURS, _THEIRS), strict=False):
        held = found.count > 0
        confidence, accuracy = found.confidence[held], found.accuracy[held]
        axes.plot(confidence, accuracy, color=colour, label=f"{name}: error {100 * found.error:.1f} %")
        axes.scatter(confidence, accuracy, 400 * found.count[held] / found.count.sum() + 8, color=colour)
    axes.set(xlabel="probability of the best class", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    _save(figure, path)


def plot_samples(path: Path, rows: Sequence[Sequence[Sample]]) -> None:
    """Draw rows of images, each with what it is, what it was taken for, and its number, as the PNG `path`."""
    columns = max((len(row) for row in rows), default=1)
    figure = Figure(figsize=(1.25 * columns, 1.6 * max(len(rows), 1)), layout="constrained")
    grid = figure.subplots(max(len(rows), 1), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for places, row in zip(grid, rows, strict=False):
        for axes, sample in zip(places, row, strict=False):
            axes.imshow(sample.pixels, interpolation="nearest")
            axes.set_title(
                f"{sample.label}\nfor {sample.predicted}\n{sample.probability:.2f}  #{sample.number}", fontsize=7
            )
    _save(figure, path)


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    return figure, axes


def _draw(axes: Axes, values: npt.NDArray[np.float64], colour: str, line: str, label: str) -> None:
    """Draw `values` [epochs], the first at epoch 1. The marks show a run of one epoch too."""
    axes.plot(np.arange(1, len(values) + 1), values, line, color=colour, label=label, marker=".", markersize=5)


def _save(figure: Figure, path: Path) -> None:
    with files.replacing(path) as partial, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the font lacks a letter of a class: a box stands there
        # No date or version inside: the same numbers give the same bytes.
        figure.savefig(partial, format="png", dpi=_DPI, metadata={"Software": None})
