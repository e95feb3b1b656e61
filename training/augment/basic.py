"""The usual augmentation of small images: flip, crop, cutout, mixup.

In and out: pixels uint8 [N, H, W, 3] on any device. A batch is changed as a whole by indexing, without a loop over
images or worker processes.
"""

import functools
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

# ImageNet's mean colour, which normalisation turns into zero.
_MASK: Final = (124, 116, 104)


@dataclass(frozen=True)
class Mixture:
    """The labels `others` int64 [N] of the images mixed in, and the weight `own` float32 [N] of the image itself."""

    others: Tensor
    own: Tensor

    def take(self, places: Tensor) -> "Mixture":
        """Those at `places` int64 [n]."""
        return Mixture(self.others[places], self.own[places])


@dataclass(frozen=True)
class Augment:
    """`horizontal_flip` of every other image, `random_crop` of so many pixels from a reflected edge, a `cutout` square.

    A cutout square may reach over the edge (https://arxiv.org/abs/1708.04552). `mixup` is the probability that an image
    is mixed (https://arxiv.org/abs/1710.09412), with a weight that is uniform. Random numbers come from `generator`, on
    the device of the images, or from torch's own.
    """

    horizontal_flip: bool = False
    random_crop: int = 0
    cutout: int = 0
    mixup: float = 0.0
    generator: torch.Generator | None = None

    def __call__(self, pixels: Tensor) -> Tensor:
        """Flip, crop and cutout; returns a new tensor, or `pixels` itself when there is nothing to do."""
        count, height, width, _ = pixels.shape
        device = pixels.device
        if self.horizontal_flip or self.random_crop:
            rows = self._places(height, count, device)
            columns = self._places(width, count, device)
            if self.horizontal_flip:
                flipped = torch.rand(count, 1, device=device, generator=self.generator) < 0.5
                columns = torch.where(flipped, columns.flip(1), columns)
            each = torch.arange(count, device=device)[:, None, None]
            pixels = pixels[each, rows[:, :, None], columns[:, None, :]]
        if self.cutout:
            masked = self._masked(height, count, device)[:, :, None] & self._masked(width, count, device)[:, None, :]
            pixels = torch.where(masked[..., None], _mask(device), pixels)
        return pixels

    def mix(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Mixture | None]:
        """Mix images with the next of their batch, each the larger part of its own mixture.

        Returns new pixels and what is in them; `pixels` itself and None when there is nothing to mix.
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
        most = self.random_crop
        shift = torch.randint(-most, most + 1, (count, 1), device=device, generator=self.generator)
        places = (torch.arange(side, device=device) + shift).abs()
        return torch.where(places < side, places, 2 * (side - 1) - places)

    def _masked(self, side: int, count: int, device: torch.device) -> Tensor:
        """For each of `count` images, which places along one side its square masks: bool [count, side]."""
        first = torch.randint(0, side, (count, 1), device=device, generator=self.generator) - self.cutout // 2
        places = torch.arange(side, device=device)
        return (places >= first) & (places < first + self.cutout)


@functools.cache
def _mask(device: torch.device) -> Tensor:
    """Made once: a step that was recorded as a CUDA graph cannot fetch anything from the CPU."""
    return torch.tensor(_MASK, dtype=torch.uint8, device=device)
