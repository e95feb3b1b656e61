"""Training images to changed training images: the same classes, other pixels; or two images in one.

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
class Mixture:
    """What else is in mixed images: the labels `others` int64 [N], and the share `own` float32 [N] of their own."""

    others: Tensor
    own: Tensor

    def take(self, places: Tensor) -> "Mixture":
        """Those at `places` int64 [n]."""
        return Mixture(self.others[places], self.own[places])


@dataclass(frozen=True)
class Augment:
    """Mirror (`flip`), move by up to `crop` pixels with a reflected edge, paint over a `cutout` square; and `mix`.

    A cutout square may reach over the edge (https://arxiv.org/abs/1708.04552). Of the images, the share `mixup` is
    mixed (https://arxiv.org/abs/1710.09412), in proportions that are all as likely. What is drawn comes from
    `generator`, on the device of the images, or from torch's own.
    """

    flip: bool = False
    crop: int = 0
    cutout: int = 0
    mixup: float = 0.0
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

    def mix(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Mixture | None]:
        """Mix images with the next of their batch, each the larger part of its own mixture.

        Pixels uint8 [N, H, W, 3] and labels int64 [N] to new pixels and what is in them; to `pixels` itself and None
        when nothing is to be mixed.
        """
        if not self.mixup:
            return pixels, None
        drawn, part = torch.rand(2, len(pixels), device=pixels.device, generator=self.generator)
        own = torch.where(drawn < self.mixup, torch.maximum(part, 1 - part), 1.0)
        weight = own[:, None, None, None]
        both = (weight * pixels + (1 - weight) * pixels.roll(-1, 0)).round().to(torch.uint8)
        return both, Mixture(labels.roll(-1), own)

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
