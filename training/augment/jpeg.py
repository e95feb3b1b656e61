"""JPEG compression as tensor operations: what quantisation does to an image, without writing a file.

In and out: images float32 [N, 3, H, W] RGB from 0 to 1, sides multiples of 16. Tables and formulas are those of JPEG
(ITU-T T.81, Annex K) and JFIF; qualities mean what they mean to libjpeg.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

_BLOCK = 8
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *[(99,) * 8] * 4,
)
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def compress(images: Tensor, quality: Tensor, subsampled: Tensor) -> Tensor:
    """The images after compression at `quality` float32 [N] from 1 to 100; `subsampled` bool [N] halves the chroma."""
    to_ycc, to_rgb, luminance, chrominance = _constants(images.device)
    ycc = torch.einsum("ij,njhw->nihw", to_ycc, (images * 255).round()).round() - _offset(images.device)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None, None, None] / 100
    y = _quantise(ycc[:, :1], luminance, scale)
    full = _quantise(ycc[:, 1:], chrominance, scale)
    half = F.interpolate(_quantise(F.avg_pool2d(ycc[:, 1:], 2), chrominance, scale), scale_factor=2.0)
    chroma = torch.where(subsampled[:, None, None, None], half, full)
    ycc = torch.cat([y, chroma], 1).round() + _offset(images.device)
    return torch.einsum("ij,njhw->nihw", to_rgb, ycc).clamp(0, 255) / 255


def _quantise(planes: Tensor, table: Tensor, scale: Tensor) -> Tensor:
    """Blocks of 8x8 to rounded cosine coefficients and back."""
    height, width = planes.shape[2:]
    rows, columns = _cosines(height, planes.device), _cosines(width, planes.device)
    steps = (table.repeat(height // _BLOCK, width // _BLOCK) * scale).round().clamp(1, 255)
    coefficients = ((rows @ planes @ columns.T) / steps).round() * steps
    return rows.T @ coefficients @ columns


@functools.cache
def _cosines(side: int, device: torch.device) -> Tensor:
    """The orthonormal cosine transform of each block of a line, [side, side]."""
    index = torch.arange(_BLOCK, dtype=torch.float64)
    basis = torch.cos((2 * index + 1) * index[:, None] * torch.pi / (2 * _BLOCK)) * (2 / _BLOCK) ** 0.5
    basis[0] /= 2**0.5
    return torch.kron(torch.eye(side // _BLOCK), basis.float()).to(device)


@functools.cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Made once: a step that was recorded as a CUDA graph cannot fetch anything from the CPU."""
    to_ycc, luminance, chrominance = (torch.tensor(values).float() for values in (_TO_YCC, _LUMINANCE, _CHROMINANCE))
    return to_ycc.to(device), torch.linalg.inv(to_ycc).to(device), luminance.to(device), chrominance.to(device)


@functools.cache
def _offset(device: torch.device) -> Tensor:
    """What JPEG subtracts: the middle of luminance; chroma is around zero already."""
    return torch.tensor([128.0, 0.0, 0.0], device=device).view(3, 1, 1)
