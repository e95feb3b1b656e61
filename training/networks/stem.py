"""The stem: bilinear upsampling by four and AlexNet's first convolution (11x11, stride 4) as one small convolution.

Both are linear, and the stride undoes the upsampling, so that together they are a 4x4 convolution of stride 1 and
padding 1 on the image itself. Only the outermost row and column on each side differ: there the upsampling repeats the
edge, and the convolution pads with zeros.
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from training.networks.alexnet import STEM_STRIDE

_PADDING: Final = 2  # of the 11x11 convolution
_KERNEL: Final = 4  # of what it becomes
_PLACE: Final = 3  # an output far from the edge of a short line of pixels
_LINE: Final = 9


def fuse_upsampling(weight: Tensor) -> Tensor:
    """The weights [out, 3, 4, 4] of the small convolution for those [out, 3, 11, 11] of the large one."""
    line = torch.eye(_LINE, dtype=torch.float64)[None]
    upsampled = F.interpolate(line, scale_factor=STEM_STRIDE, mode="linear", align_corners=False)[0].T
    first = STEM_STRIDE * _PLACE - _PADDING
    seen = upsampled[first : first + weight.shape[-1], _PLACE - 1 : _PLACE - 1 + _KERNEL]
    return (seen.T @ weight.double() @ seen).to(weight.dtype)


def enlarge(weight: Tensor, kernel: int) -> Tensor:
    """The same convolution with a larger `kernel`: zeros around the weights [out, 3, k, k], evenly on all sides."""
    return F.pad(weight, [(kernel - weight.shape[-1]) // 2] * 4)
