"""AlexNet on pixels.

In: pixels uint8 [N, H, W, 3] RGB. Out: logits float32 [N, classes]. Cast, normalisation and resize are the network's
first stage, so that training, validation, export and serving cannot prepare an image differently.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet.datasets.cifar10 import SIDE
from alexnet.probe.ood import GRID
from training.networks import low_rank
from training.networks.stem import KERNEL, PADDING, STRIDE, PolyphaseStem, padding

# The statistics that torchvision's ImageNet weights were trained with, for values from 0 to 1:
# https://docs.pytorch.org/vision/stable/models/generated/torchvision.models.alexnet.html
IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
GREY: Final = 114  # of a padded image, about the mean of all its channels; one value, so that 8 bits hold it exactly
_CHANNELS: Final = (64, 192, 384, 256, 256)  # of the five convolutions
_HIDDEN: Final = 4096  # units of each of the two large linear layers
_POOLED: Final = 6  # side of the feature maps that the linear layers see
_POOLED_SMALL: Final = 3  # the same where the maps are no larger: pooling to 6 would only repeat them


class Preprocess(nn.Module):
    """Pixels uint8 [N, H, W, 3] from 0 to 255 to the input float32 [N, 3, input_size, input_size] of the convolutions.

    Normalisation comes before the bilinear resize: the two commute (the weights of a bilinear sample add up to one),
    and the small image has fewer values. Mean and std are buffers, hence in every checkpoint. With `padding`, pixels
    before the first and after the last of each axis, the image is padded with grey and not resized.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, input_size: int, padding: tuple[int, int] = (0, 0)) -> None:
        super().__init__()
        self.input_size = input_size
        self.padding = padding
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1) * 255)

    def forward(self, pixels: Tensor) -> Tensor:
        if any(self.padding):
            return self.normalize(F.pad(pixels, (0, 0, *self.padding, *self.padding), value=GREY))
        size, image = (self.input_size, self.input_size), self.normalize(pixels)
        return image if image.shape[2:] == size else F.interpolate(image, size, mode="bilinear", align_corners=False)

    def normalize(self, pixels: Tensor) -> Tensor:
        """The image float32 [N, 3, H, W] of pixels uint8 [N, H, W, 3], at their own size."""
        return (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std


@dataclass(frozen=True)
class Variant:
    """How an `AlexNet` differs from torchvision's.

    `width` multiplies all channels and hidden units. With `batch_norm` each convolution is normalised, which export
    folds into it. With a `conv_rank` below 1 the convolutions after the first are three each (low_rank.py). With a
    `fused_stem`, for an input size that is a multiple of `image_size`, resize and first convolution are one convolution
    on the image itself (stem.py); at four times always, where its kernel has `stem_kernel` pixels a side and the linear
    layers see maps of 3x3 instead of 6x6.
    """

    image_size: int = SIDE
    width: float = 1.0
    dropout: float = 0.5
    batch_norm: bool = False
    fused_stem: bool = False
    stem_kernel: int = 4
    conv_rank: float = 1.0


class AlexNet(nn.Module):
    """AlexNet as torchvision builds it (https://arxiv.org/abs/1404.5997), or a `variant` of it, behind `Preprocess`.

    Pixels uint8 [N, `image_size`, `image_size`, 3] to logits float32 [N, classes].
    """

    def __init__(self, classes: int, input_size: int, variant: Variant = Variant()) -> None:
        super().__init__()
        self.classes = classes
        self.image_size = variant.image_size
        channels = [round(variant.width * count) for count in _CHANNELS]
        self.preprocess, stem = _preprocess_and_stem(input_size, channels[0], variant)
        pooled = _POOLED_SMALL if input_size == STRIDE * variant.image_size else _POOLED
        features = _features(stem, channels, variant.conv_rank)
        classifier = _classifier(channels[-1] * pooled**2, round(variant.width * _HIDDEN), classes, variant.dropout)
        self.network = _Layers(_with_batch_norm(features) if variant.batch_norm else features, pooled, classifier)

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.network(self.preprocess(pixels))
        return logits.float()


class PooledAlexNet(nn.Module):
    """AlexNet's convolutions, their maps pooled to 3x3, and one linear layer: the network of a linear probe.

    Pixels uint8 [N, `image_size`, `image_size`, 3] to logits float32 [N, classes]; nothing is resized. `width`
    multiplies all channels.
    """

    def __init__(self, classes: int, image_size: int, dropout: float = 0.0, width: float = 1.0) -> None:
        super().__init__()
        self.classes = classes
        self.image_size = image_size
        self.preprocess = Preprocess(image_size)
        channels = [round(width * count) for count in _CHANNELS]
        features = _features(_stem(channels[0]), channels)
        classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels[-1] * GRID**2, classes))
        self.network = _Layers(features, GRID, classifier)

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.network(self.preprocess.normalize(pixels))
        return logits.float()

    @property
    def head(self) -> nn.Linear:
        """The linear layer."""
        layer = self.network.classifier[-1]
        assert isinstance(layer, nn.Linear)
        return layer


class _Layers(nn.Module):
    """The layers under torchvision's names, and made in its order, so that a seed gives the same initial weights."""

    def __init__(self, features: nn.Sequential, pooled: int, classifier: nn.Sequential) -> None:
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d(pooled)
        self.classifier = classifier

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.classifier(torch.flatten(self.avgpool(self.features(image)), 1))
        return logits


def _preprocess_and_stem(input_size: int, outputs: int, variant: Variant) -> tuple[Preprocess, nn.Conv2d]:
    side, kernel = variant.image_size, variant.stem_kernel
    if input_size == STRIDE * side:
        return Preprocess(side), nn.Conv2d(3, outputs, kernel, padding=(kernel - 2) // 2)
    if variant.fused_stem:
        scale = input_size // side
        return Preprocess(side, padding(scale)), PolyphaseStem(outputs, scale)
    return Preprocess(input_size), _stem(outputs)


def _stem(outputs: int) -> nn.Conv2d:
    return nn.Conv2d(3, outputs, KERNEL, stride=STRIDE, padding=PADDING)


def _features(stem: nn.Conv2d, channels: Sequence[int], rank: float = 1.0) -> nn.Sequential:
    conv1, conv2, conv3, conv4, conv5 = channels
    return nn.Sequential(
        stem,
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2),
        low_rank.convolution(conv1, conv2, 5, rank),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2),
        low_rank.convolution(conv2, conv3, 3, rank),
        nn.ReLU(inplace=True),
        low_rank.convolution(conv3, conv4, 3, rank),
        nn.ReLU(inplace=True),
        low_rank.convolution(conv4, conv5, 3, rank),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2),
    )


def _classifier(inputs: int, hidden: int, classes: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Dropout(dropout),
        nn.Linear(inputs, hidden),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        nn.Linear(hidden, hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, classes),
    )


def _with_batch_norm(features: nn.Sequential) -> nn.Sequential:
    """`features` with a `BatchNorm2d` after each convolution; the other layers keep their names.

    The convolutions keep their biases, which the normalisation makes redundant, as constants.
    """
    layers = nn.Sequential()
    for name, layer in features.named_children():
        layers.add_module(name, layer)
        if isinstance(layer, nn.Conv2d):
            assert layer.bias is not None
            layer.bias.requires_grad_(False)
            layers.add_module(f"norm{name}", nn.BatchNorm2d(layer.out_channels))
    return layers
