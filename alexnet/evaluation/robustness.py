"""How often a model is still right about corrupted images.

In: images uint8 [N, 32, 32, 3] RGB and what a model answers to such. Out: what `metrics.json` says about the fifteen
common corruptions (corruptions.py), each in three of its five severities. Torch is not needed.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from alexnet import environment
from alexnet.datasets import Images
from alexnet.errors import UserError
from alexnet.evaluation import corruptions
from alexnet.evaluation.intervals import wilson
from alexnet.inference.classifier import Outputs

SEVERITIES: Final = (1, 3, 5)
STRENGTHS: Final = "CIFAR-10-C, frost drawn"


def draw(images: Images, count: int) -> Images:
    """`count` of the images, or all if fewer, each class with its share of them; the same ones each time."""
    shuffled = np.random.default_rng(corruptions.SEED).permutation(len(images))
    labels = images.labels[shuffled]
    places = np.empty(len(images))
    for label in np.unique(labels):
        (own,) = np.nonzero(labels == label)
        places[own] = (np.arange(len(own)) + 0.5) / len(own)
    return images.take(np.sort(shuffled[np.argsort(places, kind="stable")[:count]]))


def measure(ask: Callable[[npt.NDArray[np.uint8]], Outputs], images: Images, count: int) -> dict[str, Any]:
    """The accuracy on `count` of `images` as they are and under each corruption; `ask` is the model.

    Raises `UserError` as `check` does.
    """
    check(count)
    drawn = draw(images, count)

    def score(pixels: npt.NDArray[np.uint8]) -> dict[str, Any]:
        hits = int((ask(pixels).probabilities.argmax(1) == drawn.labels).sum())
        return {"accuracy": hits / len(drawn), "accuracy_interval_95": list(wilson(hits, len(drawn)))}

    rows: dict[str, dict[str, Any]] = {name: {} for name in corruptions.NAMES}
    steps = [(name, severity) for name in rows for severity in SEVERITIES]
    with Progress(console=Console(stderr=True)) as progress:
        for name, severity in progress.track(steps, description="corruptions"):
            rows[name][str(severity)] = score(corruptions.corrupt(drawn.pixels, name, severity))
    means = {
        str(severity): float(np.mean([row[str(severity)]["accuracy"] for row in rows.values()]))
        for severity in SEVERITIES
    }
    return {
        "images": len(drawn),
        "seed": corruptions.SEED,
        "strengths": STRENGTHS,
        "without": score(drawn.pixels),
        "mean": float(np.mean(list(means.values()))),
        "mean_of_severity": means,
        "kinds": rows,
        "environment": environment.describe("onnxruntime-gpu", "onnxruntime", "numpy", "scipy", "pillow"),
    }


def check(count: int) -> None:
    """Raises `UserError` where `count` is below 1 or scipy is missing."""
    if count < 1:
        raise UserError(f"--corruption-images is {count}; give 1 or more")
    corruptions.check_installed()


def show(found: dict[str, Any]) -> None:
    """Print a row for each corruption, the means of the severities, and the mean of all beside the accuracy without."""
    table = Table(title=f"accuracy under corruption, {found['images']:,} images")
    table.add_column("corruption")
    for severity in SEVERITIES:
        table.add_column(f"severity {severity}", justify="right")
    for name, row in found["kinds"].items():
        table.add_row(name.replace("_", " "), *(f"{row[str(severity)]['accuracy']:.4f}" for severity in SEVERITIES))
    table.add_section()
    table.add_row("mean", *(f"{found['mean_of_severity'][str(severity)]:.4f}" for severity in SEVERITIES))
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    low, high = found["without"]["accuracy_interval_95"]
    console.print(
        f"mean accuracy under corruption {found['mean']:.4f}; of the same images without "
        f"{found['without']['accuracy']:.4f} (95 % interval {low:.4f} to {high:.4f})"
    )
