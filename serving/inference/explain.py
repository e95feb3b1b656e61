"""Why the model names a class: occlusion (Zeiler and Fergus, 2014, arXiv 1311.2901, section 4.2).

In: one image as the model sees it. Out: variants of it with one part covered, and from what the model says of them, a
grid of how much probability the best class loses on average when a cell is covered.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

GRID: Final = 8  # cells along each side
_COVER: Final = 2  # cells along each side of what is covered, one cell further each time
POSITIONS: Final = GRID - _COVER + 1


def occlude(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The image uint8 [height, width, 3], and `POSITIONS` squared variants of it, with parts in its mean colour.

    Returns uint8 [1 + POSITIONS ** 2, height, width, 3].
    """
    variants = np.repeat(pixels[None], 1 + POSITIONS**2, axis=0)
    mean = pixels.mean(axis=(0, 1)).round().astype(np.uint8)
    rows, columns = (_edges(side) for side in pixels.shape[:2])
    for number in range(POSITIONS**2):
        y, x = divmod(number, POSITIONS)
        variants[1 + number, rows[y] : rows[y + _COVER], columns[x] : columns[x + _COVER]] = mean
    return variants


def losses(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What the class loses: float32 [GRID, GRID], from its probability for each variant of `occlude`, float32 [N]."""
    loss = (probabilities[0] - probabilities[1:]).reshape(POSITIONS, POSITIONS)
    total, count = np.zeros((2, GRID, GRID), np.float32)
    for y in range(_COVER):
        for x in range(_COVER):
            total[y : y + POSITIONS, x : x + POSITIONS] += loss
            count[y : y + POSITIONS, x : x + POSITIONS] += 1
    return np.asarray(total / count, np.float32)


def _edges(side: int) -> list[int]:
    """Where the cells along a side of so many pixels begin and end."""
    return [round(side * cell / GRID) for cell in range(GRID + 1)]
