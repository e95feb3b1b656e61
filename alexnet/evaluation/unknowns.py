"""Images of things that are none of a model's classes: read from disk, or made.

In: a folder or an array file; or images uint8 [N, 32, 32, 3] RGB and their labels int64 [N]. Out: images of that shape.
What is made of held-out images serves to choose a score; what is read serves to report how well it does. No torch.
"""

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from alexnet.datasets.cifar10 import SIDE
from alexnet.errors import ImageError, UserError
from alexnet.inference.decode import FORMATS, decode

Pixels = npt.NDArray[np.uint8]

SUFFIXES: Final = (".jpg", *(f".{name.lower()}" for name in FORMATS))

_MAX_PIXELS: Final = 10**8
_HALF: Final = SIDE // 2


def read(path: Path) -> Pixels:
    """The images of `path`, uint8 [N, 32, 32, 3].

    A `.npy` file of that type and shape, or a folder: all pictures below it, in the order of their paths, each of any
    size and shrunk as the service does. Where `name.json` stands beside `name-0.png`, `name-1.png`, ..., these are
    sheets of many images, row by row. Raises `UserError` on anything else.
    """
    if path.is_file():
        return _read_array(path)
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder; give a .npy file or a folder of pictures")
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not found:
        raise UserError(f"{path}: no pictures in it ({', '.join(SUFFIXES)})")
    return np.concatenate([_read_sheet(file) if _is_sheet(file) else _read_picture(file) for file in found])


def noise(count: int, seed: int) -> Pixels:
    """Images of which each value is drawn by itself."""
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)


def flat(count: int, seed: int) -> Pixels:
    """Images of one colour each."""
    colours = np.random.default_rng(seed).integers(0, 256, (count, 1, 1, 3), np.uint8)
    return np.ascontiguousarray(np.broadcast_to(colours, (count, SIDE, SIDE, 3)))


def make(pixels: Pixels, labels: npt.NDArray[np.int64], count: int, seed: int) -> dict[str, Pixels]:
    """By the name of their kind, `count` images each that are nothing: pieces of real ones, and noise and flat colours.

    Two images are only put together when their classes differ. Nothing is turned or mirrored: that can leave a class.
    """
    rng = np.random.default_rng(seed)
    one = rng.integers(0, len(pixels), count)
    other = np.array([rng.choice(np.flatnonzero(labels != labels[i])) for i in one])
    a, b = pixels[one], pixels[other]
    left = np.arange(SIDE) < _HALF
    squares = (np.arange(SIDE)[:, None] // 8 + np.arange(SIDE) // 8) % 2 == 0
    return {
        "two in one": ((a.astype(np.uint16) + b) // 2).astype(np.uint8),
        "two halves": np.where(left[:, None], a, b),
        "checkerboard of two": np.where(squares[..., None], a, b),
        "jigsaw of 4": _jigsaw(a, _HALF, rng),
        "jigsaw of 16": _jigsaw(a, 8, rng),
        "a quarter enlarged": _enlarge(a, _HALF, rng),
        "a sixteenth enlarged": _enlarge(a, 8, rng),
        "noise": noise(count, seed),
        "flat": flat(count, seed),
    }


def _jigsaw(pixels: Pixels, piece: int, rng: np.random.Generator) -> Pixels:
    """Each image cut into squares of side `piece`, which change their places."""
    side = SIDE // piece
    pieces = pixels.reshape(-1, side, piece, side, piece, 3).transpose(0, 1, 3, 2, 4, 5)
    pieces = pieces.reshape(len(pixels), side**2, piece, piece, 3)
    order = rng.permuted(np.tile(np.arange(side**2), (len(pixels), 1)), axis=1)
    moved = pieces[np.arange(len(pixels))[:, None], order].reshape(-1, side, side, piece, piece, 3)
    result: Pixels = moved.transpose(0, 1, 3, 2, 4, 5).reshape(pixels.shape)
    return result


def _enlarge(pixels: Pixels, side: int, rng: np.random.Generator) -> Pixels:
    """A square of side `side` of each image, blown up to the whole."""
    rows, columns = (rng.integers(0, SIDE - side + 1, (len(pixels), 1)) + np.arange(SIDE) * side // SIDE for _ in "xy")
    result: Pixels = pixels[np.arange(len(pixels))[:, None, None], rows[:, :, None], columns[:, None, :]]
    return result


def _read_array(path: Path) -> Pixels:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: not a readable .npy file; give one of uint8 [N, {SIDE}, {SIDE}, 3]") from error
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or array.shape[1:] != (SIDE, SIDE, 3):
        raise UserError(f"{path}: give an array of uint8 [N, {SIDE}, {SIDE}, 3]")
    return array


def _is_sheet(file: Path) -> bool:
    """Whether the picture is one of several of a sheet `name-0`, `name-1`, ... that `name.json` tells about."""
    return file.with_name(file.stem.rpartition("-")[0] + ".json").is_file()


def _read_sheet(file: Path) -> Pixels:
    try:
        with Image.open(file) as image:
            sheet = np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise UserError(f"{file}: not a readable picture") from error
    height, width, _ = sheet.shape
    if height % SIDE or width % SIDE:
        raise UserError(f"{file}: {width} x {height} pixels; a sheet's sides are multiples of {SIDE}")
    rows, columns = height // SIDE, width // SIDE
    return sheet.reshape(rows, SIDE, columns, SIDE, 3).transpose(0, 2, 1, 3, 4).reshape(-1, SIDE, SIDE, 3)


def _read_picture(file: Path) -> Pixels:
    try:
        return decode(file.read_bytes(), SIDE, SIDE, _MAX_PIXELS)[None]
    except ImageError as error:
        raise UserError(f"{file}: {error}") from error
