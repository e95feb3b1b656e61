"""Numbers to pictures. The only module that imports matplotlib."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from training import files


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
    with files.replacing(path) as partial:
        # No date or version inside: the same numbers give the same bytes.
        figure.savefig(partial, format="png", dpi=110, metadata={"Software": None})
