"""The steps of a compression: their files, what they predict, and the table of it.

In: ONNX graphs, and labelled images to measure them on. Out: for each step its size, scores and multiply-adds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from alexnet.datasets import Images
from alexnet.evaluation.scores import Scores, score
from alexnet.inference.metadata import CompressionStep
from training.export.latency import BATCH_SIZES
from training.export.multiply_adds import count_multiply_adds

Latencies = Mapping[str, Mapping[int, float]]

_BATCH: Final = 100
_WIDTH: Final = 120  # of the table, also where the terminal is narrower or the output is a pipe


@dataclass(frozen=True)
class Step:
    """What was made, and on the measured images its `scores` and `predicted` classes int64 [N].

    These two are None where only the latency of the file at `path` is of interest; `path` is None where there is none.
    """

    name: str
    bytes: int
    path: Path | None = None
    multiply_adds: int | None = None
    scores: Scores | None = None
    predicted: npt.NDArray[np.int64] | None = None


class Steps:
    """The steps so far, in `made`, whose files lie in `folder` and are measured on `images`."""

    def __init__(self, folder: Path, images: Images, progress: Progress) -> None:
        self.made: list[Step] = []
        self._folder, self._images, self._progress = folder, images, progress

    def add(self, name: str, model: onnx.ModelProto) -> Path:
        """Save `model`, measure it, and list it; returns its path."""
        (probabilities,) = self.run(model, ("probabilities",), self._images.pixels)
        path = self.save(name, model)
        self.add_predicted(name, path.stat().st_size, probabilities.argmax(1), probabilities.shape[1], model, path)
        return path

    def add_predicted(
        self,
        name: str,
        size: int,
        predicted: npt.NDArray[np.int64],
        classes: int,
        model: onnx.ModelProto | None = None,
        path: Path | None = None,
    ) -> None:
        """List a step of `size` bytes that predicts `predicted`."""
        scores = score(self._images.labels, predicted, classes)
        operations = None if model is None else count_multiply_adds(model)
        self.made.append(Step(name, size, path, operations, scores, predicted))

    def save(self, name: str, model: onnx.ModelProto) -> Path:
        """Write `model` into the folder; returns its path."""
        path = self._folder / f"{name}.onnx"
        onnx.save(model, path)
        return path

    def run(
        self, model: onnx.ModelProto, outputs: Sequence[str], pixels: npt.NDArray[np.uint8]
    ) -> list[npt.NDArray[np.float32]]:
        """The named `outputs` of `model` for `pixels`."""
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        task = self._progress.add_task("images", total=len(pixels))
        parts = []
        for first in range(0, len(pixels), _BATCH):
            batch = pixels[first : first + _BATCH]
            parts.append(session.run(list(outputs), {"pixels": batch}))
            self._progress.advance(task, len(batch))
        self._progress.remove_task(task)
        return [np.concatenate(part) for part in zip(*parts, strict=True)]


def describe(steps: Sequence[Step], latencies: Latencies) -> tuple[CompressionStep, ...]:
    """A record for each step; `agreement` is with the first one that was measured."""
    first = next(step.predicted for step in steps if step.predicted is not None)
    return tuple(
        CompressionStep(
            name=step.name,
            bytes=step.bytes,
            multiply_adds=step.multiply_adds,
            accuracy=None if step.scores is None else step.scores.accuracy,
            macro_f1=None if step.scores is None else step.scores.macro_f1,
            agreement=None if step.predicted is None else float((step.predicted == first).mean()),
            latency_ms=dict(latencies.get(step.name, {})),
        )
        for step in steps
    )


def show(records: Sequence[CompressionStep], split: str) -> None:
    """Print the table; latencies are compared with those of the first step that has some."""
    timed = [record for record in records if record.latency_ms]
    table = Table(title=f"each step on the {split} images" + ("; latency in milliseconds" if timed else ""))
    table.add_column("step")
    headings = ["MB", "million multiply-adds", "accuracy", "macro F1", "agreement"]
    for size in BATCH_SIZES if timed else ():
        headings += [f"batch {size}", "speed-up"]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for record in records:
        cells = [
            f"{record.bytes / 1e6:.2f}",
            "" if record.multiply_adds is None else f"{record.multiply_adds / 1e6:.1f}",
        ]
        scores = (record.accuracy, record.macro_f1, record.agreement)
        cells += ["" if value is None else f"{value:.4f}" for value in scores]
        for size, latency in record.latency_ms.items():
            cells += [f"{latency:.2f}", f"{timed[0].latency_ms[size] / latency:.2f}x"]
        table.add_row(record.name, *cells)
    Console(width=max(Console().width, _WIDTH)).print(table)
