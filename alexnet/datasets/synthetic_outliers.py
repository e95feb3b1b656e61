"""Images of none of the classes, made of images of the classes: to fit an OOD score where no real ones are at hand.

In: images uint8 [N, side, side, 3] RGB, the side a multiple of 8, and labels int64 [N]. Out: images of that shape.
numpy only.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

_SMALL: Final = 8  # pixels a side of the smallest pieces


def noise(count: int, seed: int, side: int = 32) -> Pixels:
    """`count` images of uniform noise, each value by itself."""
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


def flat(count: int, seed: int, side: int = 32) -> Pixels:
    """`count` images of one random colour each."""
    colours = np.random.default_rng(seed).integers(0, 256, (count, 1, 1, 3), np.uint8)
    return np.ascontiguousarray(np.broadcast_to(colours, (count, side, side, 3)))


def make(pixels: Pixels, labels: npt.NDArray[np.int64], count: int, seed: int) -> dict[str, Pixels]:
    """`count` images of each kind, by its name: pieces and blends of real images, noise and flat colours.

    Two images are only combined when their classes differ. Nothing is rotated or flipped: that can still be the class.
    """
    rng = np.random.default_rng(seed)
    one = rng.integers(0, len(pixels), count)
    other = np.array([rng.choice(np.flatnonzero(labels != labels[i])) for i in one])
    a, b = pixels[one], pixels[other]
    side = pixels.shape[1]
    places = np.arange(side)
    left = places < side // 2
    squares = (places[:, None] // _SMALL + places // _SMALL) % 2 == 0
    return {
        "blend of two": ((a.astype(np.uint16) + b) // 2).astype(np.uint8),
        "two halves": np.where(left[:, None], a, b),
        "checkerboard of two": np.where(squares[..., None], a, b),
        "jigsaw of large pieces": _jigsaw(a, side // 2, rng),
        "jigsaw of small pieces": _jigsaw(a, _SMALL, rng),
        "large crop, enlarged": _enlarge(a, side // 2, rng),
        "small crop, enlarged": _enlarge(a, _SMALL, rng),
        "noise": noise(count, seed, side),
        "flat": flat(count, seed, side),
    }


def _jigsaw(pixels: Pixels, piece: int, rng: np.random.Generator) -> Pixels:
    """Each image cut into squares of side `piece`, which are shuffled."""
    count = pixels.shape[1] // piece
    pieces = pixels.reshape(-1, count, piece, count, piece, 3).transpose(0, 1, 3, 2, 4, 5)
    pieces = pieces.reshape(len(pixels), count**2, piece, piece, 3)
    order = rng.permuted(np.tile(np.arange(count**2), (len(pixels), 1)), axis=1)
    pieces = pieces[np.arange(len(pixels))[:, None], order].reshape(-1, count, count, piece, piece, 3)
    shuffled: Pixels = pieces.transpose(0, 1, 3, 2, 4, 5).reshape(pixels.shape)
    return shuffled


def _enlarge(pixels: Pixels, crop: int, rng: np.random.Generator) -> Pixels:
    """A random square of side `crop` of each image, enlarged to the whole by repeating pixels."""
    side = pixels.shape[1]
    rows, columns = (
        rng.integers(0, side - crop + 1, (len(pixels), 1)) + np.arange(side) * crop // side for _ in range(2)
    )
    enlarged: Pixels = pixels[np.arange(len(pixels))[:, None, None], rows[:, :, None], columns[:, None, :]]
    return enlarged
