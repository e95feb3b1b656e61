"""What a training run says in the terminal: its data, a bar, a line for each epoch."""

import dataclasses

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from alexnet.datasets import Dataset, Split, is_imbalanced
from training.checkpoint import EpochMetrics
from training.settings import Settings


def print_sizes(parts: Split, data: Dataset, settings: Settings) -> None:
    """Say how many images an image folder has, and what to watch where some classes have few."""
    if data.fingerprint.sha256 is None:
        return
    counts = np.bincount(parts.training.labels, minlength=len(data.classes))
    sizes = ", ".join(f"{name} {count}" for name, count in zip(data.classes, counts, strict=True))
    print(f"{len(parts.training)} images to train on ({sizes}), {len(parts.validation)} held out")
    if is_imbalanced(counts):
        advice = "" if settings.class_weights else "; --class-weights makes the small ones count as much"
        print(f"the classes are imbalanced: the number to watch is the macro F1 of `alexnet evaluate`{advice}")


def bar(*, hidden: bool) -> Progress:
    """A progress bar on standard error, with the time that is left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("remaining"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    return Progress(*columns, console=Console(stderr=True), disable=hidden)


def describe(epoch: EpochMetrics, epochs: int) -> str:
    """One of `epochs` in a line."""
    values = dataclasses.asdict(epoch)
    parts = [
        f"{part} loss {values[f'{part}_loss']:.3f} accuracy {values[f'{part}_accuracy']:.4f}"
        for part in ("training", "validation")
        if values[f"{part}_loss"] is not None
    ]
    return f"epoch {epoch.epoch}/{epochs}  {'  '.join(parts)}  {epoch.seconds:.0f} s"
