"""The table of a compression: what each step has made, how good and how fast it is.

In: model files with the classes that they give the validation images. Out: a printed table, and the same as JSON.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from alexnet.evaluation.scores import Scores
from alexnet.inference.metadata import CompressionStep
from training.export.latency import BATCH_SIZES


@dataclass(frozen=True)
class Step:
    """A model file and, on the validation images, its `scores` and the classes `predicted` int64 [N].

    Both are None for a file that is there for its speed alone.
    """

    name: str
    path: Path
    scores: Scores | None = None
    predicted: npt.NDArray[np.int64] | None = None


_WIDTH: Final = 110  # a pipe is said to have 80 columns

Speeds = dict[str, dict[int, float]]


def show(steps: Sequence[Step], speeds: Speeds) -> None:
    """Print the table; the speeds are compared with those of the first step."""
    table = Table(title="each step on the validation images; times beside each other, in milliseconds")
    table.add_column("step")
    headings = ["MB", "accuracy", "macro F1", "same class"]
    for size in BATCH_SIZES:
        headings += [f"ms at {size}", "faster"]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in describe(steps, speeds):
        cells = [f"{row.bytes / 1e6:.2f}"]
        cells += ["" if value is None else f"{value:.4f}" for value in (row.accuracy, row.macro_f1, row.agreement)]
        for size in BATCH_SIZES:
            milliseconds = row.latency_ms[size]
            cells += [f"{milliseconds:.2f}", f"{speeds[steps[0].name][size] / milliseconds:.2f}x"]
        table.add_row(row.name, *cells)
    Console(width=max(Console().width, _WIDTH)).print(table)


def describe(steps: Sequence[Step], speeds: Speeds) -> list[CompressionStep]:
    """A record for each step; `agreement` is with the first one that was measured."""
    whole = next(step.predicted for step in steps if step.predicted is not None)
    return [
        CompressionStep(
            name=step.name,
            bytes=step.path.stat().st_size,
            accuracy=None if step.scores is None else step.scores.accuracy,
            macro_f1=None if step.scores is None else step.scores.macro_f1,
            agreement=None if step.predicted is None else float((step.predicted == whole).mean()),
            latency_ms=speeds[step.name],
        )
        for step in steps
    ]
