"""The images that are sent: test images of CIFAR-10, and photos made of them."""

import io
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from alexnet.datasets.cifar10 import CLASSES
from alexnet.paths import ROOT

FIXTURE: Final = ROOT / "tests" / "data" / "cifar10"
PHOTO: Final = (4000, 3000)
_NOISE: Final = 8  # standard deviation, as photos of cameras have it: their files become as large


def fixture_files() -> list[Path]:
    """The 200 PNG files, class by class."""
    return sorted(FIXTURE.glob("*/*.png"))


@cache
def small_jpegs() -> list[bytes]:
    """A test image of each class as a JPEG file of 32 x 32 pixels."""
    found = []
    for name in CLASSES:
        file = io.BytesIO()
        Image.open(sorted((FIXTURE / name).glob("*.png"))[0]).save(file, "JPEG", quality=95)
        found.append(file.getvalue())
    return found


@cache
def photos(size: tuple[int, int], count: int) -> list[bytes]:
    """JPEG files of `size` (width, height): enlarged test images with noise; those of 12 megapixels have 3 MB."""
    width, height = size
    noise = np.random.default_rng(0).normal(0, _NOISE, (height, width, 3))
    found = []
    for path in fixture_files()[:: 200 // count][:count]:
        enlarged = Image.open(path).convert("RGB").resize(size, Image.Resampling.BICUBIC)
        file = io.BytesIO()
        Image.fromarray((np.asarray(enlarged) + noise).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
        found.append(file.getvalue())
    return found
