"""More training images from folders: photos of the classes, and outliers (images of none of them).

In: a folder of images of any size. Out: for each epoch other crops of them, shrunk with other filters, as pixels uint8
[N, 32, 32, 3]. All are kept in memory at 64x64 pixels, decoded as the service decodes.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import torch
from torch import Tensor

from alexnet.datasets import folders
from alexnet.datasets.cifar10 import SIDE
from alexnet.errors import ImageError, UserError
from alexnet.inference import decode
from alexnet.inference.cpus import usable_cpus
from training.augment import resample

OUTLIER: Final = -1
_KEPT: Final = 64  # pixels a side
_SMALLEST_SIDE: Final = 0.6  # of a crop, of the image's
_NARROWEST: Final = 0.4  # filter, of the width that lets nothing alias
_CHUNK: Final = 512


@dataclass(frozen=True)
class ExtraImages:
    """Images uint8 [N, 64, 64, 3]; `labels` int64 [N] are `OUTLIER` for outliers."""

    pixels: Tensor
    labels: Tensor

    @classmethod
    def of_classes(cls, folder: Path, classes: Sequence[str]) -> Self:
        """Those in the folders of `folder` that are named like `classes`; not every class needs one.

        Raises `UserError` on a folder of another name, and where there is no image.
        """
        folders.check_classes(folder, classes)
        paths: list[Path] = []
        labels: list[int] = []
        for name, images in folders.class_folders(folder).items():
            paths += [Path(item) for item in folders.walk(images)]
            labels += [classes.index(name)] * (len(paths) - len(labels))
        return cls._decode(folder, paths, labels)

    @classmethod
    def of_none(cls, folder: Path) -> Self:
        """All images in `folder` and below, as outliers. Raises `UserError` where there is none."""
        if not folder.is_dir():
            raise UserError(f"--outliers {folder}: no such folder")
        paths = [Path(item) for item in folders.walk(folder)]
        return cls._decode(folder, paths, [OUTLIER] * len(paths))

    @classmethod
    def _decode(cls, folder: Path, paths: Sequence[Path], labels: Sequence[int]) -> Self:
        with ThreadPoolExecutor(usable_cpus()) as pool:
            decoded = list(pool.map(_decode, paths))
        kept = [(pixels, label) for pixels, label in zip(decoded, labels, strict=True) if pixels is not None]
        if not kept:
            raise UserError(f"{folder}: no image that can be read")
        return cls(
            torch.stack([pixels for pixels, _ in kept]), torch.tensor([label for _, label in kept], dtype=torch.int64)
        )

    def choose(self, label: int, count: int, generator: torch.Generator) -> Tensor:
        """Indices int64 [count] of images with this label at random, each as often as the others."""
        own = (self.labels == label).nonzero().flatten()
        rounds = [own[torch.randperm(len(own), generator=generator)] for _ in range(-(-count // len(own)))]
        return torch.cat(rounds)[:count]

    def crops(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        """A random crop of each image at `indices` int64 [n], shrunk: uint8 [n, 32, 32, 3]."""
        return torch.cat([self._crop(self.pixels[chunk], generator) for chunk in indices.split(_CHUNK)])

    def _crop(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        count = len(pixels)
        drawn = torch.rand(7, count, generator=generator)
        filters, matrices = drawn[:2].T, []
        for side, start in ((drawn[2], drawn[3]), (drawn[4], drawn[5])):
            length = (_SMALLEST_SIDE + (1 - _SMALLEST_SIDE) * side) * _KEPT
            places = resample.centers(SIDE, (_KEPT - length) * start, length)
            width = length / SIDE * (_NARROWEST + (1 - _NARROWEST) * drawn[6])
            matrices.append(resample.sample(places, width.clamp(min=1), filters, _KEPT))
        shrunk = resample.apply(matrices[0], pixels.permute(0, 3, 1, 2).float(), matrices[1])
        return shrunk.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def noise(count: int, generator: torch.Generator) -> Tensor:
    """Images uint8 [count, 32, 32, 3] of random values around a random colour, with grains of 1, 2, 4 or 8 pixels."""
    images = []
    for grain, part in zip((1, 2, 4, 8), torch.arange(count).tensor_split(4), strict=True):
        drawn = torch.rand(len(part), 3, SIDE // grain, SIDE // grain, generator=generator)
        color, contrast = torch.rand(2, len(part), 3, 1, 1, generator=generator)
        grains = color + contrast * (drawn - 0.5)
        images.append(grains.repeat_interleave(grain, 2).repeat_interleave(grain, 3))
    return (torch.cat(images).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def _decode(path: Path) -> Tensor | None:
    """The image, or None for what is none."""
    try:
        pixels = decode.decode(path.read_bytes(), _KEPT, _KEPT)
    except (OSError, ImageError):
        return None
    return torch.from_numpy(pixels.copy())
