"""Labelled images, the type that data sets hand to training and evaluation. Many large ones are memory-mapped."""

import tempfile
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

_IN_MEMORY: Final = 2**29  # bytes of pixels; more are copied into a temporary file
_BLOCK: Final = 256  # images copied at a time


@dataclass(frozen=True)
class Images:
    """Images and their classes: `pixels` uint8 [N, side, side, 3] RGB, `labels` int64 [N]."""

    pixels: Pixels
    labels: Labels

    def __post_init__(self) -> None:
        assert self.pixels.dtype == np.uint8
        assert self.pixels.ndim == 4
        assert self.pixels.shape[-1] == 3
        assert self.labels.shape == self.pixels.shape[:1]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Labels) -> "Images":
        """The images at `indices` int64 [M], in that order."""
        row = self.pixels[:1].nbytes
        if row * len(indices) <= _IN_MEMORY:
            return Images(self.pixels[indices], self.labels[indices])
        with tempfile.TemporaryFile() as file:
            file.truncate(row * len(indices))
            shape = (len(indices), *self.pixels.shape[1:])
            pixels = np.memmap(file, np.uint8, "r+", shape=shape)
        for first in range(0, len(indices), _BLOCK):
            pixels[first : first + _BLOCK] = self.pixels[indices[first : first + _BLOCK]]
        return Images(pixels, self.labels[indices])
