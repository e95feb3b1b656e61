"""The files of our run and of the published one to plots and `reproduction.md`; the same files give the same bytes."""

import glob
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet import files
from alexnet.evaluation import plots
from alexnet.evaluation.metrics import Split
from alexnet.evaluation.predictions import Predictions
from training.reproduction import compare, page, runs
from training.reproduction.compare import Comparison

PAGE: Final = "reproduction.md"

_OURS: Final = "tab:blue"
_THEIRS: Final = "tab:orange"


def report(run: Path, published: Path, output: Path) -> Path:
    """Compare the run in the folder `run` with the one in `published`; returns the page, `output`/reproduction.md.

    Folders beside `run` with its name and `-seed-N` hold the same run with other seeds. Raises
    `UserError` on a missing or damaged file.
    """
    others = [runs.read_run(folder) for folder in sorted(run.parent.glob(f"{glob.escape(run.name)}-seed-*"))]
    ours = runs.read_run(run)
    predictions: dict[Split, Predictions] = {
        "test": runs.read_predictions(run, "test", ours.test),
        "validation": runs.read_predictions(run, "validation", ours.validation),
    }
    comparison = compare.compare(ours, runs.read_published(published), predictions, others)
    for name, plot in (
        (page.PLOTS["loss"], plot_losses),
        (page.PLOTS["class_accuracy"], plot_class_accuracy),
        (page.PLOTS["validation_accuracy"], plot_validation_accuracy),
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
    plots.save(figure, path)


def plot_validation_accuracy(path: Path, comparison: Comparison) -> None:
    """Draw the validation accuracy of both runs, pooled with training and alone, as the PNG `path`."""
    figure, axes = _figure()
    unpooled, error = comparison.unpooled, comparison.unpooled_error
    _draw(axes, comparison.published.curves.validation_accuracy, _THEIRS, "--", "published, as printed")
    _draw(axes, comparison.pooled, _OURS, "--", "ours, pooled with training")
    _draw(axes, unpooled, _THEIRS, "-", "published, solved for validation alone (band: rounding)")
    epochs = np.arange(1, len(unpooled) + 1)
    axes.fill_between(epochs, unpooled - error, unpooled + error, color=_THEIRS, alpha=0.2, linewidth=0)
    _draw(axes, comparison.run.curves.validation_accuracy, _OURS, "-", "ours, validation alone")
    axes.set(xlabel="epoch", ylabel="accuracy")
    axes.legend(loc="lower right")
    plots.save(figure, path)


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
    plots.save(figure, path)


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    return figure, axes


def _draw(axes: Axes, values: npt.NDArray[np.float64], colour: str, line: str, label: str) -> None:
    """Draw `values` [epochs], the first at epoch 1. The marks show a run of one epoch too."""
    axes.plot(np.arange(1, len(values) + 1), values, line, color=colour, label=label, marker=".", markersize=5)
