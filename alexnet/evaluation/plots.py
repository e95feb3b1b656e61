"""Plots of what was measured of a model, as PNG files. The same numbers give the same bytes. Needs matplotlib."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from alexnet import files
from alexnet.evaluation.calibration import Reliability
from alexnet.evaluation.scores import Sample

_COLOUR: Final = "tab:blue"
_DPI: Final = 110


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
    save(figure, path)


def plot_reliability(path: Path, reliability: Reliability) -> None:
    """Draw the accuracy over the confidence of its bins as the PNG `path`, with the expected calibration error.

    A dot's area is the fraction of the images in its bin.
    """
    figure = Figure(figsize=(5.5, 5.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    held = reliability.count > 0
    confidence, accuracy = reliability.confidence[held], reliability.accuracy[held]
    error = reliability.expected_calibration_error
    axes.plot(confidence, accuracy, color=_COLOUR, label=f"expected calibration error {100 * error:.2f} %")
    axes.scatter(confidence, accuracy, 400 * reliability.count[held] / reliability.count.sum() + 8, color=_COLOUR)
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    save(figure, path)


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
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write `figure` as the PNG `path`, whole or not at all."""
    with files.replacing(path) as partial, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the font lacks a letter of a class: a box stands there
        # No date or version inside: the same numbers give the same bytes.
        figure.savefig(partial, format="png", dpi=_DPI, metadata={"Software": None})
