"""The stem: bilinear upsampling and AlexNet's first convolution (11x11, stride 4) as one convolution on the image.

Both are linear. Where the image is enlarged `scale` times and g is the greatest common divisor of `scale` and 4,
`scale / g` outputs in a row lie at different places between the pixels (the phases), then the same places return
`4 / g` pixels further on. So each phase is a small convolution of stride `4 / g`, and all of them are one convolution
with more outputs (a polyphase filter), which are then interleaved. At four times there is one phase: a 4x4 convolution
of stride 1.

A `PolyphaseStem` sees an image that is padded before it is enlarged. AlexNet pads after that, so that the outermost
rows and columns of the outputs differ.
"""

import math
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDE: Final = 4  # of AlexNet's first convolution
KERNEL: Final = 11
PADDING: Final = 2
_LINE: Final = 32  # pixels, so many that none of those in the middle sees an end


class PolyphaseStem(nn.Conv2d):
    """The first convolution on images that are enlarged `scale` times, 3 or more, computed on the images themselves.

    Images float32 [N, 3, H, W], padded by `padding(scale)` on both axes, to [N, outputs, scale * H / 4, scale * W / 4]
    for H and W before the padding. The weights are those [outputs, 3, 11, 11] on the enlarged image.
    """

    _taps: Tensor

    def __init__(self, outputs: int, scale: int) -> None:
        super().__init__(3, outputs, KERNEL, stride=STRIDE, padding=PADDING)
        self.scale = scale
        self.register_buffer("_taps", _taps(scale).float(), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        assert self.bias is not None
        kernel = _fuse(self.weight, self._taps).contiguous(memory_format=torch.channels_last)
        outputs = F.conv2d(image, kernel, self.bias.repeat(phases(self.scale) ** 2), _stride(self.scale))
        return interleave(outputs, phases(self.scale))


class FoldedStem(nn.Conv2d):
    """What a `PolyphaseStem` computes, with its kernel as a constant, of images before the padding.

    Images float32 [N, 3, H, W], in which 0 is what they are padded with, to the outputs before they are interleaved,
    [N, phases² * outputs, H / stride, W / stride]. `offset` [3] is subtracted from the images. `unfolded` are the
    weights [outputs, 3, 11, 11] and biases [outputs] that it was made of.
    """

    def __init__(self, stem: PolyphaseStem, offset: Tensor) -> None:
        kernel = fuse(stem.weight.detach(), stem.scale)
        super().__init__(3, len(kernel), kernel.shape[-1], _stride(stem.scale))
        assert stem.bias is not None
        self.margins = padding(stem.scale) * 2
        self.unfolded = stem.weight.detach(), stem.bias.detach()
        self.weight = nn.Parameter(kernel)
        self.bias = nn.Parameter(stem.bias.detach().repeat(phases(stem.scale) ** 2) - kernel.sum((2, 3)) @ offset)

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(F.pad(image, self.margins))


class Interleave(nn.Module):
    """ReLU, and the outputs of all phases [N, phases² * C, H, W] in their places: [N, C, phases * H, phases * W]."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.phases = phases(scale)

    def forward(self, outputs: Tensor) -> Tensor:
        return interleave(F.relu(outputs), self.phases)


def padding(scale: int) -> tuple[int, int]:
    """The pixels that an image needs before its first and after its last one."""
    return 1, _taps(scale).shape[1] - _stride(scale) - 1


def phases(scale: int) -> int:
    """The phases along a row."""
    return scale // math.gcd(scale, STRIDE)


def interleave(outputs: Tensor, count: int) -> Tensor:
    """Outputs [N, count² * C, H, W] of `count` phases along each axis in their places: [N, C, count * H, count * W]."""
    batch, channels, height, width = outputs.shape
    split = outputs.permute(0, 2, 3, 1).reshape(batch, height, width, count, count, channels // count**2)
    places = split.transpose(2, 3).reshape(batch, count * height, count * width, channels // count**2)
    return places.permute(0, 3, 1, 2)


def fuse(weight: Tensor, scale: int) -> Tensor:
    """The weights [phases² * out, 3, k, k] on the image for those [out, 3, 11, 11] on the enlarged one."""
    return _fuse(weight.double(), _taps(scale)).to(weight.dtype)


def enlarge(weight: Tensor, kernel: int) -> Tensor:
    """The same convolution with a larger `kernel`: zeros around the weights [out, 3, k, k], evenly on all sides."""
    return F.pad(weight, [(kernel - weight.shape[-1]) // 2] * 4)


def _fuse(weight: Tensor, taps: Tensor) -> Tensor:
    return torch.einsum("rak,sbl,ockl->rsocab", taps, taps, weight).flatten(0, 2)


def _taps(scale: int) -> Tensor:
    """For each phase, what each of its pixels gives to each weight of a row: float64 [phases, pixels, 11].

    The first pixel is the one before the first of the image.
    """
    stride = _stride(scale)
    line = torch.eye(_LINE, dtype=torch.float64)[None]
    enlarged = F.interpolate(line, scale_factor=scale, mode="linear", align_corners=False)[0]  # [pixels, enlarged]
    middle = _LINE // (2 * stride)
    starts = [STRIDE * (phases(scale) * middle + phase) - PADDING for phase in range(phases(scale))]
    seen = torch.stack([enlarged[:, start : start + KERNEL] for start in starts])
    last = int(seen.sum((0, 2)).nonzero().max())
    return seen[:, stride * middle - 1 : last + 1]


def _stride(scale: int) -> int:
    """The pixels between two places of a phase."""
    return STRIDE // math.gcd(scale, STRIDE)
