"""Pixels to embeddings, by the convolutions that ship or by others.

In: pixels uint8 [N, side, side, 3]. Out: embeddings float32 [N, views, D], the views being the image and its mirror
image; of many images, the mean of both.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import Progress

from alexnet import files
from alexnet.datasets.image_folder import Part
from alexnet.inference import batches
from alexnet.inference.cpus import usable_cpus
from alexnet.inference.session import open_session
from alexnet.paths import FEATURES
from alexnet.probe import graph
from alexnet.probe.cache import Cache
from alexnet.probe.convolutions import Weights

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

BATCH: Final = 8

_MOST_MIRRORED: Final = 2_000  # images whose two views are kept apart, 18 KB each


def extract(pixels: Pixels, weights: Weights | None = None) -> Floats:
    """The embeddings [N, 2, D]; of more than 2,000 images [N, 1, D]. `weights` are other convolutions' than ImageNet's.

    A line on standard output says about how long it takes.
    """
    run = _open(pixels, weights)
    return np.concatenate(batches.map_batches(run, pixels, BATCH, description="features"))


def extract_cached(part: Part, root: Path) -> Floats:
    """The embeddings of the images of a part, as `extract` gives them; in `root` lies the file that keeps them."""
    pixels, side = part.images.pixels, part.images.pixels.shape[1]
    views = 2 if len(pixels) <= _MOST_MIRRORED else 1
    cache = Cache(root / f".features-{side}-{views}-{files.sha256(FEATURES)[:12]}", (views, graph.EMBEDDING))
    missing = cache.missing(part.digests)
    embeddings = np.empty((len(pixels), views, graph.EMBEDDING), np.float32)
    cache.fill(part.digests, embeddings)
    if not len(missing):
        print(f"features of {len(pixels):,} images: all are cached")
        return embeddings
    run = _open(pixels, None, len(missing))
    with cache.appending() as file, Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("features", total=len(missing))
        for places in np.split(missing, range(BATCH, len(missing), BATCH)):
            embeddings[places] = run(pixels[places])
            if file is not None:
                cache.append(file, part.digests[places], embeddings[places])
            progress.advance(task, len(places))
    return embeddings


def _open(pixels: Pixels, weights: Weights | None, count: int | None = None) -> Callable[[Pixels], Floats]:
    """What computes the embeddings of a batch; says how long `count` images will take."""
    session = open_session(graph.features(pixels.shape[1], weights).SerializeToString(), usable_cpus())

    def run(batch: Pixels) -> Floats:
        both = np.concatenate([batch, batch[:, :, ::-1]])
        (found,) = session.run(["embedding"], {"pixels": both})
        views: Floats = found.reshape(2, len(batch), -1).swapaxes(0, 1)
        return views if len(pixels) <= _MOST_MIRRORED else views.mean(1, keepdims=True)

    run(pixels[:BATCH])
    start = time.perf_counter()
    run(pixels[:BATCH])
    count = count or len(pixels)
    seconds = (time.perf_counter() - start) * count / min(BATCH, len(pixels))
    print(f"features of {count:,} images: about {describe_time(seconds)}", flush=True)
    return run


def describe_time(seconds: float) -> str:
    """A duration in words: `40 s`, `12 min`."""
    return f"{max(1, round(seconds))} s" if seconds < 100 else f"{round(seconds / 60)} min"
