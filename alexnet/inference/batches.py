"""The batch loop: many images through a model, some at a time.

In: pixels uint8 [N, height, width, 3]. Out: what a function, or a classifier, gives for them, in their order.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import Progress

from alexnet.inference.classifier import Classifier, Outputs

Pixels = npt.NDArray[np.uint8]
Result = TypeVar("Result")


def map_batches(
    run: Callable[[Pixels], Result], pixels: Pixels, batch_size: int, *, description: str | None = "images"
) -> list[Result]:
    """`run` of every `batch_size` images; unless `description` is None, with a progress bar on standard error."""
    results = []
    with Progress(console=Console(stderr=True), disable=description is None) as progress:
        task = progress.add_task(description or "", total=len(pixels))
        for first in range(0, len(pixels), batch_size):
            batch = pixels[first : first + batch_size]
            results.append(run(batch))
            progress.advance(task, len(batch))
    return results


def predict(classifier: Classifier, pixels: Pixels, batch_size: int, *, description: str | None = "images") -> Outputs:
    """The answers to one or more images, in the order of `pixels`."""
    parts = map_batches(classifier.run, pixels, batch_size, description=description)
    probabilities = np.concatenate([part.probabilities for part in parts])
    scores = [part.ood_score for part in parts if part.ood_score is not None]
    refused = [part.is_ood for part in parts if part.is_ood is not None]
    if not scores:
        return Outputs(probabilities)
    return Outputs(probabilities, np.concatenate(scores), np.concatenate(refused))
