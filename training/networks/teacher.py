"""A small residual network that is more accurate on CIFAR-10 than AlexNet, to distil from.

In: pixels uint8 [N, 32, 32, 3] RGB. Out: logits float32 [N, classes]. It is never exported or served.

Ideas of short CIFAR-10 training (K. Jordan, https://arxiv.org/abs/2404.00498): a fixed first layer that whitens patches
of two by two pixels; three stages of three convolutions, initialised to the identity, the last two as a residual
branch; batch normalisation with a shift but no scale; and scaled-down logits.
"""

import itertools
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.alexnet import Preprocess

_PATCH: Final = 2
_EPSILON: Final = 5e-4  # keeps principal components of almost no variance from being amplified
_WIDTHS: Final = (128, 384, 512)
_NORM_MOMENTUM: Final = 0.4  # of the running statistics: large, since training is short
_LOGIT_SCALE: Final = 1 / 9


class Teacher(nn.Module):
    """9.9 million weights and 0.45 billion multiply-adds per image.

    Pixels uint8 [N, 32, 32, 3] to logits float32 [N, classes]. `whiten` must see training images first.
    """

    def __init__(self, classes: int, side: int, width: float = 1.0) -> None:
        super().__init__()
        self.preprocess = Preprocess(side)
        self.whitening = nn.Conv2d(3, 2 * 3 * _PATCH**2, _PATCH, bias=False).requires_grad_(False)
        widths = (self.whitening.out_channels, *(round(width * channels) for channels in _WIDTHS))
        self.stages = nn.Sequential(*(_Stage(*pair) for pair in itertools.pairwise(widths)))
        self.head = nn.Linear(widths[-1], classes, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        features = self.stages(F.gelu(self.whitening(self.preprocess(pixels))))
        logits: Tensor = self.head(features.amax((2, 3))) * _LOGIT_SCALE
        return logits.float()

    @torch.no_grad()
    def whiten(self, pixels: Tensor) -> None:
        """Set the first layer from training `pixels` uint8 [N, 32, 32, 3]: each principal component of their patches
        becomes a filter and its negative, scaled to variance one.
        """
        images = self.preprocess(pixels)
        patches = F.unfold(images, _PATCH).transpose(1, 2).reshape(-1, 3 * _PATCH**2).double()
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (vectors / (values + _EPSILON).sqrt()).T.reshape(-1, 3, _PATCH, _PATCH).float()
        self.whitening.weight.copy_(torch.cat([filters, -filters]))


class _Stage(nn.Module):
    """float32 [N, inputs, H, W] to [N, outputs, H // 2, W // 2]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Sequential(_convolution(inputs, outputs), nn.MaxPool2d(2), _norm(outputs), nn.GELU())
        self.rest = nn.Sequential(
            _convolution(outputs, outputs),
            _norm(outputs),
            nn.GELU(),
            _convolution(outputs, outputs),
            _norm(outputs),
        )

    def forward(self, features: Tensor) -> Tensor:
        found = self.first(features)
        return F.gelu(found + self.rest(found))


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """3x3; its first output channels start as its input channels."""
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.dirac_(layer.weight.data[:inputs])
    return layer


def _norm(channels: int) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(channels, momentum=_NORM_MOMENTUM)
    layer.weight.requires_grad_(False)
    return layer
