"""Augmentation for images from elsewhere: other crops, sizes, filters, cameras and files than CIFAR-10's.

In and out: pixels uint8 [N, H, W, 3] on any device; sides are multiples of 16. All is done to a batch as a whole. A
batch comes in random order, so that its first images can stand for a random part of it.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from training.augment import color, jpeg, resample

_LARGEST_AREA: Final = 1.25  # of a crop: beyond 1, the image is reflected around its edge
_ASPECT: Final = 0.75  # smallest ratio of the sides of a crop
_SMALLEST_SIDE: Final = 0.45  # to which an image is shrunk before it is enlarged again
_BLUR: Final = (0.2, 1.0)  # standard deviation in pixels
_SHARPENING: Final = 1.5
_NOISE: Final = (0.01, 0.12)  # standard deviation, of values from 0 to 1
_QUALITY: Final = (20, 95)  # of JPEG
_SHARE: Final = 0.4  # of the degraded images, to which one of the degradations happens
_ROUNDS: Final = 3  # of mixing with a fractal
_BETA: Final = 3.0  # larger: less of the fractal


@dataclass(frozen=True)
class RobustAugment:
    """Random resized crops with a `smallest_area`; fractals mixed into, and degradations of, parts of a batch.

    `degraded` and `fractal_mixed` are those parts, from 0 to 1; `fractals` uint8 [M, H, W, 3]. Random numbers come from
    `generator`, or torch's own of `device`, where the images are.
    """

    smallest_area: float = 1.0
    degraded: float = 0.0
    fractal_mixed: float = 0.0
    fractals: Tensor | None = None
    device: torch.device = torch.device("cpu")
    generator: torch.Generator | None = None

    def __call__(self, pixels: Tensor) -> Tensor:
        images = pixels.permute(0, 3, 1, 2).float() / 255
        if self.smallest_area < 1:
            images = self._crop(images)
        count = round(self.fractal_mixed * len(images))
        if count:
            images = torch.cat([images[:-count], self._mix_fractals(images[-count:])])
        count = round(self.degraded * len(images))
        if count:
            images = torch.cat([self._degrade(images[:count]), images[count:]])
        return (images * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def _crop(self, images: Tensor) -> Tensor:
        """A part of each image, of any size and aspect, as the whole image."""
        count, _, height, width = images.shape
        area = self.smallest_area + (_LARGEST_AREA - self.smallest_area) * self._rand(count)
        aspect = resample.log_uniform(self._rand(count), _ASPECT, 1 / _ASPECT)
        filters = self._filters(count)
        matrices = []
        for size, side in ((height, (area * aspect).sqrt()), (width, (area / aspect).sqrt())):
            places = resample.centers(size, (1 - side) * size * self._rand(count), side * size)
            matrices.append(resample.sample(places, side.clamp(min=1), filters, size, margin=size // 2))
        return resample.apply(matrices[0], images, matrices[1]).clamp(0, 1)

    def _degrade(self, images: Tensor) -> Tensor:
        """Other colours for all; resampling, sharpening, noise and JPEG for parts, which overlap."""
        images = color.jitter(images, self.generator)
        done = 0
        for change in (self._resample, self._sharpen, self._add_noise, self._compress):
            count = round(_SHARE * len(images))
            images = torch.cat([images[count:], change(images[:count]).clamp(0, 1)])
            done += count
        return images.roll(done, 0)

    def _resample(self, images: Tensor) -> Tensor:
        """Shrink and enlarge with random filters, and blur; one matrix for each axis."""
        count, _, height, width = images.shape
        side = _SMALLEST_SIDE + (1 - _SMALLEST_SIDE) * self._rand(count)
        narrow, down, up = 0.3 + 0.7 * self._rand(count), self._filters(count), self._filters(count)
        sigma = resample.log_uniform(self._rand(count), *_BLUR)
        stretch = 0.5 + self._rand(count)  # more along one axis than along the other, as when something moves
        rows, columns = (
            resample.gaussian(blur, size) @ resample.shrink_and_enlarge((side * size).round(), narrow, down, up, size)
            for size, blur in ((height, sigma * stretch), (width, sigma / stretch))
        )
        return resample.apply(rows, images, columns)

    def _sharpen(self, images: Tensor) -> Tensor:
        """Unsharp masking: the difference from a blurred image, added."""
        count, _, height, width = images.shape
        sigma = resample.log_uniform(self._rand(count), *_BLUR)
        blurred = resample.apply(resample.gaussian(sigma, height), images, resample.gaussian(sigma, width))
        return images + _SHARPENING * self._rand(count)[:, None, None, None] * (images - blurred)

    def _add_noise(self, images: Tensor) -> Tensor:
        deviation = resample.log_uniform(self._rand(len(images)), *_NOISE)[:, None, None, None]
        return images + deviation * torch.randn(images.shape, device=self.device, generator=self.generator)

    def _compress(self, images: Tensor) -> Tensor:
        low, high = _QUALITY
        quality = low + (high - low) * self._rand(len(images))
        return jpeg.compress(images, quality, self._rand(len(images)) < 0.5)

    def _mix_fractals(self, images: Tensor) -> Tensor:
        """Add or multiply fractals in up to three rounds, as PixMix does (https://arxiv.org/abs/2112.05135)."""
        assert self.fractals is not None
        count = len(images)
        rounds = torch.randint(1, _ROUNDS + 1, (count, 1, 1, 1), device=self.device, generator=self.generator)
        for number in range(_ROUNDS):
            chosen = torch.randint(len(self.fractals), (count,), device=self.device, generator=self.generator)
            other = self.fractals[chosen].permute(0, 3, 1, 2).float() / 255
            own, part = self._beta(count), 1 - self._beta(count)
            added = (own * (2 * images - 1) + part * (2 * other - 1) + 1) / 2
            multiplied = (2 * images.clamp(1e-3, 1)) ** own * (2 * other.clamp(1e-3, 1)) ** part / 2
            mixed = torch.where(self._rand(count)[:, None, None, None] < 0.5, added, multiplied).clamp(0, 1)
            images = torch.where(number < rounds, mixed, images)
        return images

    def _beta(self, count: int) -> Tensor:
        """Numbers [count, 1, 1, 1] from 0 to 1, near 1: of the distribution Beta(3, 1)."""
        return self._rand(count)[:, None, None, None] ** (1 / _BETA)

    def _filters(self, count: int) -> Tensor:
        return torch.rand(count, 2, device=self.device, generator=self.generator)

    def _rand(self, count: int) -> Tensor:
        return torch.rand(count, device=self.device, generator=self.generator)
