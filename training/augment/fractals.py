"""Fractal images, drawn by code, to mix into training images.

Out: uint8 [N, size, size, 3]. Each is the attractor of an iterated function system: random affine maps, of which a
point takes one after the other at random (the "chaos game"). The brightness of a pixel is how often points visit it;
each map tints its visits with a colour of its own. Hendrycks et al. (https://arxiv.org/abs/2112.05135) mix such
images into training images to make networks robust.
"""

import numpy as np
import numpy.typing as npt

_MAPS = 4
_POINTS = 2_000  # of each image
_STEPS = 80
_BURN_IN = 12  # steps until points are on the attractor


def draw(count: int, size: int, seed: int) -> npt.NDArray[np.uint8]:
    """`count` images of `size` pixels a side, the same for the same `seed`."""
    random = np.random.default_rng(seed)
    return np.stack([_draw(size, random) for _ in range(count)])


def _draw(size: int, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    matrices, offsets, colours = _maps(random), random.uniform(-1, 1, (_MAPS, 2)), random.uniform(0, 1, (_MAPS, 3))
    points, tints = random.uniform(-1, 1, (_POINTS, 2)), np.full((_POINTS, 3), 0.5)
    visits: list[npt.NDArray[np.float64]] = []
    visit_tints: list[npt.NDArray[np.float64]] = []
    for step in range(_STEPS):
        chosen = random.integers(_MAPS, size=_POINTS)
        points = np.einsum("nij,nj->ni", matrices[chosen], points) + offsets[chosen]
        tints = (tints + colours[chosen]) / 2
        if step >= _BURN_IN:
            visits.append(points)
            visit_tints.append(tints)
    return _render(np.concatenate(visits), np.concatenate(visit_tints), size, random)


def _maps(random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Contracting matrices [maps, 2, 2]: rotation, singular values below one, rotation, perhaps a reflection."""
    angles = random.uniform(0, 2 * np.pi, (2, _MAPS))
    stretch = random.uniform(0.2, 0.8, (_MAPS, 2)) * random.choice([-1, 1], (_MAPS, 2))
    first, second = (
        np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], 1).reshape(-1, 2, 2) for angle in angles
    )
    matrices: npt.NDArray[np.float64] = first @ (stretch[:, :, None] * second)
    return matrices


def _render(
    points: npt.NDArray[np.float64], tints: npt.NDArray[np.float64], size: int, random: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Counts of visits, in logarithm, times the mean tint, on a background of any colour."""
    low, high = np.quantile(points, [0.01, 0.99], axis=0)
    places = np.clip((points - low) / np.maximum(high - low, 1e-6) * size, 0, size - 1).astype(np.int64)
    index = places[:, 1] * size + places[:, 0]
    counts = np.bincount(index, minlength=size * size)
    sums = np.stack([np.bincount(index, weights=tint, minlength=size * size) for tint in tints.T], 1)
    colour = sums / np.maximum(counts, 1)[:, None]
    colour = (colour - colour.min()) / max(np.ptp(colour), 1e-6)
    weight = (np.log1p(counts) / np.log1p(counts.max()))[:, None] ** 0.5
    image = weight * colour + (1 - weight) * random.uniform(0, 1, 3)
    pixels: npt.NDArray[np.uint8] = (image.reshape(size, size, 3) * 255).round().astype(np.uint8)
    return pixels
