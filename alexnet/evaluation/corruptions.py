"""A model on corrupted images: the protocol of CIFAR-10-C (https://arxiv.org/abs/1903.12261).

In: test images, and how they are corrupted: generated here (alexnet.datasets.corruptions), or read from the files that
its authors publish. Out: the `Corruptions` of `metrics.json`: the accuracy under each of the fifteen kinds, in each
severity.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import Progress

from alexnet import environment
from alexnet.datasets import Images, corruptions, public_sets
from alexnet.evaluation.metrics import Corruptions, Proportion
from alexnet.inference.classifier import Outputs

Predict = Callable[[npt.NDArray[np.uint8]], Outputs]

QUICK_IMAGES: Final = 2_000
QUICK_SEVERITIES: Final = (1, 3, 5)

_SEVERITIES: Final = tuple(range(1, public_sets.SEVERITIES + 1))
_GENERATED: Final = "generated with the strengths of CIFAR-10-C, frost drawn"


@dataclass(frozen=True)
class Protocol:
    """Where corrupted images come from.

    `full` generates all severities of all test images, `quick` three severities of 2,000; `folder` has the published
    `.npy` files.
    """

    kind: Literal["quick", "full", "published"]
    folder: Path | None = None

    @classmethod
    def of(cls, given: str) -> "Protocol":
        """`quick`, `full`, or the path of a folder."""
        if given == "quick":
            return cls("quick")
        return cls("full") if given == "full" else cls("published", Path(given))

    def check(self) -> None:
        """Raises `UserError` where what it needs is missing."""
        if self.folder is None:
            corruptions.check_installed()


def measure(predict: Predict, images: Images, protocol: Protocol) -> Corruptions:
    """The accuracy on `images` under each corruption; `predict` gives the model's outputs.

    Raises `UserError` as `Protocol.check`, and where published files are not of these images.
    """
    protocol.check()
    quick = protocol.kind == "quick"
    severities: Sequence[int] = QUICK_SEVERITIES if quick else _SEVERITIES
    chosen = draw(images, QUICK_IMAGES) if quick else images

    def corrupt(kind: str, severity: int) -> npt.NDArray[np.uint8]:
        if protocol.folder is not None:
            return public_sets.read_cifar10_c(protocol.folder, kind, severity, images.labels)
        return corruptions.corrupt(chosen.pixels, kind, severity)

    def accuracy(pixels: npt.NDArray[np.uint8]) -> Proportion:
        return Proportion.of(predict(pixels).probabilities.argmax(1) == chosen.labels)

    kinds: dict[str, dict[int, Proportion]] = {kind: {} for kind in corruptions.NAMES}
    steps = [(kind, severity) for kind in kinds for severity in severities]
    with Progress(console=Console(stderr=True)) as progress:
        for kind, severity in progress.track(steps, description="corruptions"):
            kinds[kind][severity] = accuracy(corrupt(kind, severity))
    means = {severity: float(np.mean([row[severity].value for row in kinds.values()])) for severity in severities}
    return Corruptions(
        images=len(chosen),
        source=_GENERATED if protocol.folder is None else "CIFAR-10-C as published",
        seed=None if protocol.folder is not None else corruptions.SEED,
        clean=accuracy(chosen.pixels),
        mean=float(np.mean(list(means.values()))),
        mean_by_severity=means,
        kinds=kinds,
        environment=environment.describe("onnxruntime-gpu", "onnxruntime", "numpy", "scipy", "pillow"),
    )


def draw(images: Images, count: int) -> Images:
    """`count` of the images, or all if fewer, stratified by class; the same ones each time."""
    shuffled = np.random.default_rng(corruptions.SEED).permutation(len(images))
    labels = images.labels[shuffled]
    places = np.empty(len(images))
    for label in np.unique(labels):
        (own,) = np.nonzero(labels == label)
        places[own] = (np.arange(len(own)) + 0.5) / len(own)
    return images.take(np.sort(shuffled[np.argsort(places, kind="stable")[:count]]))
