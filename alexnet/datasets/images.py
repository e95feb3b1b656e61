"""Labelled images in memory, the type that data sets hand to training and evaluation."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Images:
    """Images and their classes: `pixels` uint8 [N, 32, 32, 3] RGB, `labels` int64 [N]."""

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
        return Images(self.pixels[indices], self.labels[indices])
