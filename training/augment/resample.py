"""Resampling as matrices: crop, scale, blur and the filters of image libraries, for a whole batch at once.

All of these are linear and separable, so that an image [rows, columns] becomes A @ image @ B.T with a small matrix for
each axis, and several in a row are one product of matrices. Coordinates are in pixels; 0 is the edge of the image.

A filter is a pair float32 [2] of B and C from 0 to 1: the cubics of Mitchell and Netravali (Computer Graphics 22,
1988). (0, 0.5) is Pillow's bicubic, (0, 0.75) close to Lanczos, (1, 0) a soft B-spline.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def sample(positions: Tensor, width: Tensor, filters: Tensor, size: int, *, margin: int = 0) -> Tensor:
    """Matrices float32 [N, out, size] that sample a line of `size` pixels at `positions` float32 [N, out].

    `width` float32 [N] stretches the `filters` float32 [N, 2]: the distance of two samples keeps fine detail from
    aliasing. Beyond its ends the line is reflected, for a `margin` of pixels; positions lie no farther out.
    """
    places = torch.arange(-margin, size + margin, device=positions.device) + 0.5
    weights = _cubic((positions[:, :, None] - places) / width[:, None, None], filters[:, None, None])
    if margin:
        before, weights, after = weights.tensor_split([margin, margin + size], 2)
        weights = weights + F.pad(before.flip(2), (0, size - margin)) + F.pad(after.flip(2), (size - margin, 0))
    return weights / weights.sum(2, keepdim=True)


def centers(count: int, start: Tensor, length: Tensor) -> Tensor:
    """The centers float32 [N, count] of `count` equal parts of lines that begin at `start` [N] and are `length` [N]."""
    return start[:, None] + (torch.arange(count, device=start.device) + 0.5) * (length / count)[:, None]


def shrink_and_enlarge(sides: Tensor, width: Tensor, down: Tensor, up: Tensor, size: int) -> Tensor:
    """Matrices float32 [N, size, size] that shrink a line to `sides` float32 [N] pixels and enlarge it again.

    `sides` are integers; `down` and `up` float32 [N, 2] are filters. `width` float32 [N] times the usual width is that
    of `down`: less than one leaves aliasing.
    """
    index = torch.arange(size, device=sides.device)
    scale = size / sides
    places = ((index + 0.5) * scale[:, None]).clamp(max=size)  # beyond `sides`, of no use
    shrink = sample(places, (scale * width).clamp(min=1), down, size)
    places = (index[:, None] + 0.5) / scale[:, None, None] - (index + 0.5)
    enlarge = _cubic(places, up[:, None, None]) * (index < sides[:, None])[:, None]
    return (enlarge / enlarge.sum(2, keepdim=True)) @ shrink


def gaussian(sigma: Tensor, size: int) -> Tensor:
    """Matrices float32 [N, size, size] that blur a line with standard deviations `sigma` float32 [N] above 0."""
    index = torch.arange(size, device=sigma.device)
    weights = torch.exp(-0.5 * ((index[:, None] - index) / sigma[:, None, None]) ** 2)
    return weights / weights.sum(2, keepdim=True)


def apply(rows: Tensor, images: Tensor, columns: Tensor) -> Tensor:
    """Images float32 [N, C, H, W] by matrices [N, H', H] and [N, W', W]: float32 [N, C, H', W']."""
    return rows[:, None] @ images @ columns[:, None].transpose(2, 3)


def log_uniform(drawn: Tensor, low: float, high: float) -> Tensor:
    """Uniform numbers `drawn` from 0 to 1 to numbers from `low` to `high` that are uniform in their logarithm."""
    return low * torch.exp(drawn * math.log(high / low))


def _cubic(distance: Tensor, filters: Tensor) -> Tensor:
    """The filters' values at a `distance` in their own width."""
    x, b, c = distance.abs(), filters[..., 0], filters[..., 1]
    near = ((12 - 9 * b - 6 * c) * x + (-18 + 12 * b + 6 * c)) * x * x + (6 - 2 * b)
    far = (((-b - 6 * c) * x + (6 * b + 30 * c)) * x + (-12 * b - 48 * c)) * x + (8 * b + 24 * c)
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0)) / 6
