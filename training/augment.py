"""Training images to changed training images: the same classes, other pixels.

In and out: pixels uint8 [N, 32, 32, 3] on any device. A batch is changed as a whole by indexing, without a loop over
images or worker processes.
"""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

# ImageNet's mean colour, which normalising turns into zero: what is painted over says nothing.
_GREY = (124, 116, 104)


@dataclass(frozen=True)
class Augment:
    """Mirror (`flip`), move by up to `crop` pixels with a reflected edge, paint over a `cutout` square.

    A cutout square may reach over the edge (https://arxiv.org/abs/1708.04552). What is drawn comes from `generator`, on
    the device of the images, or from torch's own.
    """

    flip: bool = False
    crop: int = 0
    cutout: int = 0
    generator: torch.Generator | None = None

    def __call__(self, pixels: Tensor) -> Tensor:
        """Pixels uint8 [N, H, W, 3] to a new tensor of that shape, or to `pixels` itself when nothing is to be done."""
        count, height, width, _ = pixels.shape
        device = pixels.device
        if self.flip or self.crop:
            rows = self._places(height, count, device)
            columns = self._places(width, count, device)
            if self.flip:
                mirrored = torch.rand(count, 1, device=device, generator=self.generator) < 0.5
                columns = torch.where(mirrored, columns.flip(1), columns)
            each = torch.arange(count, device=device)[:, None, None]
            pixels = pixels[each, rows[:, :, None], columns[:, None, :]]
        if self.cutout:
            covered = self._covered(height, count, device)[:, :, None] & self._covered(width, count, device)[:, None, :]
            pixels = torch.where(covered[..., None], _grey(device), pixels)
        return pixels

    def _places(self, side: int, count: int, device: torch.device) -> Tensor:
        """For each of `count` images, where along one side its pixels come from: int64 [count, side]."""
        moved = torch.randint(-self.crop, self.crop + 1, (count, 1), device=device, generator=self.generator)
        places = (torch.arange(side, device=device) + moved).abs()
        return torch.where(places < side, places, 2 * (side - 1) - places)

    def _covered(self, side: int, count: int, device: torch.device) -> Tensor:
        """For each of `count` images, which places along one side its square covers: bool [count, side]."""
        first = torch.randint(0, side, (count, 1), device=device, generator=self.generator) - self.cutout // 2
        places = torch.arange(side, device=device)
        return (places >= first) & (places < first + self.cutout)


@functools.cache
def _grey(device: torch.device) -> Tensor:
    """Made once: a step that a GPU has recorded cannot fetch anything from the CPU."""
    return torch.tensor(_GREY, dtype=torch.uint8, device=device)
