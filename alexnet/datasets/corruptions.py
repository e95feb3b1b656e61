"""Images to corrupted images: the fifteen common corruptions of Hendrycks and Dietterich.

In and out: pixels uint8 [N, 32, 32, 3] RGB. The definitions are the paper's (https://arxiv.org/abs/1903.12261), the
strengths those of its CIFAR-10-C (https://github.com/hendrycks/robustness, make_cifar_c.py), for all images at once.
One differs: frost is drawn, where the authors lay photographs over the image, whose origin they do not tell. scipy
filters, Pillow shrinks and compresses.
"""

import importlib
import io
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

SEED: Final = 0

_CHUNK: Final = 500  # images in memory at once
_GREY: Final = np.array([0.299, 0.587, 0.114])  # of red, green and blue, ITU-R BT.601
_FROST: Final = np.array([[60, 80, 110], [240, 248, 255]]) / 255  # between crystals, and a crystal

# Of severity 1 to 5.
_STRENGTHS: Final[dict[str, tuple[Any, ...]]] = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),  # standard deviation
    "shot_noise": (500, 250, 100, 75, 50),  # photons of a white pixel
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),  # fraction of values
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),  # radius, blur of the disk
    "glass_blur": ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2)),  # sigma, rounds
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),  # radius, sigma
    "zoom_blur": (1.06, 1.11, 1.16, 1.21, 1.26),  # up to this, in steps of 0.01
    "snow": (  # mean, deviation, zoom, threshold, radius and sigma of the motion, weight of the image
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),  # weights of the image and of the frost
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),  # amount, decay of the roughness
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),  # added to the largest of the three
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),  # weight of the deviation from the mean
    "elastic_transform": (  # in sides of the image: strength and sigma of the waves, the corners' moves
        (0, 0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    ),
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),  # of the side
    "jpeg_compression": (80, 65, 58, 50, 40),  # quality
}
NAMES: Final = tuple(_STRENGTHS)


def corrupt(pixels: Pixels, name: str, severity: int) -> Pixels:
    """`pixels` under the corruption `name` of `severity`, 1 to 5. The same pixels give the same result each time."""
    strength = _STRENGTHS[name][severity - 1]
    rng = np.random.default_rng((SEED, NAMES.index(name), severity))
    parts = []
    for first in range(0, len(pixels), _CHUNK):
        part = _MAKERS[name](pixels[first : first + _CHUNK] / 255, strength, rng)
        parts.append((np.clip(part, 0, 1) * 255 + 1e-9).astype(np.uint8))  # cut off, as CIFAR-10-C is; k/255 stays k
    return np.concatenate(parts)


def check_installed() -> None:
    """Raises `ImportError` where scipy is missing."""
    importlib.import_module("scipy.ndimage")


def _gaussian_noise(x: Floats, deviation: float, rng: np.random.Generator) -> Floats:
    return x + rng.normal(0, deviation, x.shape)


def _shot_noise(x: Floats, photons: float, rng: np.random.Generator) -> Floats:
    return rng.poisson(x * photons) / photons


def _impulse_noise(x: Floats, share: float, rng: np.random.Generator) -> Floats:
    drawn = rng.random(x.shape)
    return np.where(drawn < share / 2, 0, np.where(drawn < share, 1, x))


def _defocus_blur(x: Floats, strength: tuple[float, float], _: np.random.Generator) -> Floats:
    from scipy.ndimage import convolve

    radius, sigma = strength
    places = np.arange(-3, 4)
    disk = (places[:, None] ** 2 + places**2 <= radius**2).astype(float)
    row = np.exp(-np.array([1, 0, 1]) / (2 * sigma**2))
    kernel = convolve(disk / disk.sum(), np.outer(row, row) / row.sum() ** 2, mode="constant")
    result: Floats = convolve(x, kernel[None, :, :, None], mode="mirror")
    return result


def _glass_blur(x: Floats, strength: tuple[float, int], rng: np.random.Generator) -> Floats:
    sigma, rounds = strength
    x = np.floor(_blur(x, sigma) * 255 + 1e-9) / 255
    every, side = np.arange(len(x)), x.shape[1]
    for _ in range(rounds):
        for row in range(side - 1, 1, -1):
            for column in range(side - 1, 1, -1):
                up, left = rng.integers(0, 2, (2, len(x)))
                # CIFAR-10-C's code means to swap the two, and copies: numpy gives views.
                x[:, row, column] = x[every, row - up, column - left]
    return _blur(x, sigma)


def _motion_blur(x: Floats, strength: tuple[int, float], rng: np.random.Generator) -> Floats:
    return _move(x, *strength, rng.uniform(-45, 45, len(x)))


def _zoom_blur(x: Floats, most: float, _: np.random.Generator) -> Floats:
    factors = np.arange(1, most, 0.01)
    return (x + sum(_zoom(x, factor) for factor in factors)) / (len(factors) + 1)


def _snow(x: Floats, strength: tuple[Any, ...], rng: np.random.Generator) -> Floats:
    mean, deviation, zoom, threshold, radius, sigma, rest = strength
    flakes = _zoom(rng.normal(mean, deviation, (*x.shape[:3], 1)), zoom)
    flakes = np.where(flakes < threshold, 0, np.clip(flakes, 0, 1))
    flakes = _move(flakes, radius, sigma, rng.uniform(-135, -45, len(x)))
    white = np.maximum(x, (x @ _GREY)[..., None] * 1.5 + 0.5)
    result: Floats = rest * x + (1 - rest) * white + flakes + flakes[:, ::-1, ::-1]
    return result


def _frost(x: Floats, strength: tuple[float, float], rng: np.random.Generator) -> Floats:
    image, frost = strength
    crystals = 1 - np.abs(2 * _plasma(x, 2, rng) - 1)
    result: Floats = image * x + frost * (_FROST[0] + crystals * (_FROST[1] - _FROST[0]))
    return result


def _fog(x: Floats, strength: tuple[float, float], rng: np.random.Generator) -> Floats:
    amount, decay = strength
    brightest = x.max((1, 2, 3), keepdims=True)
    result: Floats = (x + amount * _plasma(x, decay, rng)) * brightest / (brightest + amount)
    return result


def _brightness(x: Floats, more: float, _: np.random.Generator) -> Floats:
    value = x.max(3, keepdims=True)
    brighter = np.minimum(value + more, 1)
    result: Floats = np.where(value > 0, x * brighter / np.maximum(value, 1e-9), brighter)  # hue and saturation stay
    return result


def _contrast(x: Floats, rest: float, _: np.random.Generator) -> Floats:
    means = x.mean((1, 2), keepdims=True)
    result: Floats = (x - means) * rest + means
    return result


def _elastic_transform(x: Floats, strength: tuple[float, float, float], rng: np.random.Generator) -> Floats:
    side, count = x.shape[1], len(x)
    height, sigma, move = (side * part for part in strength)
    middle, third = side // 2, side // 3
    corners = np.array([[third, third], [third, -third], [-third, -third]]) + middle
    moved = corners + rng.uniform(-move, move, (count, 3, 2))
    back = np.linalg.solve(np.concatenate([moved, np.ones((count, 3, 1))], 2), np.broadcast_to(corners, moved.shape))
    rows, columns = np.mgrid[:side, :side].astype(float)
    places = np.stack([columns, rows, np.ones_like(rows)], -1).reshape(-1, 3) @ back
    x = _sample(x, *(places[..., axis].reshape(count, side, side) for axis in (1, 0)))
    waves = [_blur(rng.uniform(-1, 1, (count, side, side, 1)), sigma, 3)[..., 0] * height for _ in "xy"]
    return _sample(x, rows + waves[1], columns + waves[0])


def _pixelate(x: Floats, part: float, _: np.random.Generator) -> Floats:
    side = x.shape[1]
    small, whole = (int(side * part),) * 2, (side, side)
    return _each(x, lambda image: image.resize(small, Image.Resampling.BOX).resize(whole, Image.Resampling.BOX))


def _jpeg_compression(x: Floats, quality: int, _: np.random.Generator) -> Floats:
    def compress(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _each(x, compress)


def _each(x: Floats, change: Callable[[Image.Image], Image.Image]) -> Floats:
    return np.stack([np.asarray(change(Image.fromarray(image))) for image in np.rint(x * 255).astype(np.uint8)]) / 255


def _blur(x: Floats, sigma: float, truncate: float = 4) -> Floats:
    from scipy.ndimage import gaussian_filter

    if sigma == 0:
        return x
    mode = "nearest" if truncate == 4 else "reflect"
    result: Floats = gaussian_filter(x, (0, sigma, sigma, 0), mode=mode, truncate=truncate)
    return result


def _move(x: Floats, radius: int, sigma: float, degrees: Floats) -> Floats:
    """Each image smeared to one side in a direction of its own, as ImageMagick does it: half a Gaussian bell."""
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    every, places = np.arange(len(x))[:, None, None], np.arange(x.shape[1])
    result = np.zeros_like(x)
    for step, weight in zip(steps, weights / weights.sum(), strict=True):
        down, right = (np.ceil(step * turn(np.deg2rad(degrees)) - 0.5).astype(int) for turn in (np.sin, np.cos))
        rows, columns = (np.clip(places + move[:, None], 0, len(places) - 1) for move in (down, right))
        result += weight * x[every, rows[:, :, None], columns[:, None, :]]
    return result


def _zoom(x: Floats, factor: float) -> Floats:
    """The middle of each image, enlarged `factor` times by linear interpolation."""
    side = x.shape[1]
    part = int(np.ceil(side / factor))
    large = round(part * factor)
    first = (large - side) // 2
    places = np.arange(first, first + side) * (part - 1) / (large - 1)
    nearness = np.maximum(0, 1 - np.abs(places[:, None] + (side - part) // 2 - np.arange(side)))
    result: Floats = np.einsum("ij,njkc,lk->nilc", nearness, x, nearness, optimize=True)
    return result


def _plasma(x: Floats, decay: float, rng: np.random.Generator) -> Floats:
    """Clouds by the diamond-square algorithm, one an image, [N, side, side, 1] from 0 to 1; side is a power of two."""
    side = x.shape[1]
    clouds, step, rough = np.zeros((len(x), side, side)), side, 100.0

    def between(total: Floats) -> Floats:
        return total / 4 + rough * rng.uniform(-rough, rough, total.shape)

    while step >= 2:
        half = step // 2
        corners = clouds[:, ::step, ::step]
        pairs = corners + np.roll(corners, -1, 1)
        clouds[:, half::step, half::step] = between(pairs + np.roll(pairs, -1, 2))
        middles = clouds[:, half::step, half::step]
        upright, across = corners + np.roll(corners, -1, 2), corners + np.roll(corners, -1, 1)
        clouds[:, ::step, half::step] = between(middles + np.roll(middles, 1, 1) + upright)
        clouds[:, half::step, ::step] = between(middles + np.roll(middles, 1, 2) + across)
        step, rough = half, rough / decay
    clouds -= clouds.min((1, 2), keepdims=True)
    result: Floats = (clouds / clouds.max((1, 2), keepdims=True))[..., None]
    return result


def _sample(x: Floats, rows: Floats, columns: Floats) -> Floats:
    """The values at `rows` and `columns` [N, side, side] by linear interpolation; beyond the edge a mirror stands."""
    side = x.shape[1]
    every = np.arange(len(x))[:, None, None]
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    down, right = (rows - top)[..., None], (columns - left)[..., None]

    def at(row: npt.NDArray[np.int64], column: npt.NDArray[np.int64]) -> Floats:
        row, column = (side - 1 - np.abs(side - 1 - np.abs(place)) for place in (row, column))
        return x[every, row, column]

    above = at(top, left) * (1 - right) + at(top, left + 1) * right
    below = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right
    result: Floats = above * (1 - down) + below * down
    return result


_MAKERS: Final[dict[str, Callable[[Floats, Any, np.random.Generator], Floats]]] = {
    name: globals()[f"_{name}"] for name in NAMES
}
