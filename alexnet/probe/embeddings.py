"""Pixels to embeddings, by the convolutions that ship or by others.

In: pixels uint8 [N, side, side, 3]. Out: embeddings float32 [N, views, D], the views being the image and its mirror
image; of many images, the mean of both.
"""

import time
from typing import Final

import numpy as np
import numpy.typing as npt

from alexnet.inference import batches
from alexnet.inference.cpus import usable_cpus
from alexnet.inference.session import open_session
from alexnet.probe import graph
from alexnet.probe.convolutions import Weights

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

BATCH: Final = 8

_MOST_MIRRORED: Final = 2_000  # images whose two views are kept apart, 18 KB each


def extract(pixels: Pixels, weights: Weights | None = None) -> Floats:
    """The embeddings [N, 2, D]; of more than 2,000 images [N, 1, D]. `weights` are other convolutions' than ImageNet's.

    Where that takes a while, a line on standard output says how long.
    """
    session = open_session(graph.features(pixels.shape[1], weights).SerializeToString(), usable_cpus())

    def run(batch: Pixels) -> Floats:
        both = np.concatenate([batch, batch[:, :, ::-1]])
        (found,) = session.run(["embedding"], {"pixels": both})
        views: Floats = found.reshape(2, len(batch), -1).swapaxes(0, 1)
        return views if len(pixels) <= _MOST_MIRRORED else views.mean(1, keepdims=True)

    run(pixels[:BATCH])
    start = time.perf_counter()
    run(pixels[:BATCH])
    seconds = (time.perf_counter() - start) * len(pixels) / BATCH
    print(f"features of {len(pixels):,} images: about {describe_time(seconds)}", flush=True)
    return np.concatenate(batches.map_batches(run, pixels, BATCH, description="features"))


def describe_time(seconds: float) -> str:
    """A duration in words: `40 s`, `12 min`."""
    return f"{max(1, round(seconds))} s" if seconds < 100 else f"{round(seconds / 60)} min"
