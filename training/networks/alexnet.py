"""AlexNet that eats pixels.

In: pixels uint8 [N, 32, 32, 3] RGB. Out: logits float32 [N, classes]. Cast, normalise and resize are the network's
first stage, so that training, validation, export and serving cannot prepare an image differently.
"""

from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import AlexNet_Weights

from alexnet.errors import UserError

# The statistics that torchvision's ImageNet weights were trained with, for values from 0 to 1:
# https://docs.pytorch.org/vision/stable/models/generated/torchvision.models.alexnet.html
IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
_CHANNELS: Final = (64, 192, 384, 256, 256)  # of the five convolutions
_HIDDEN: Final = 4096  # units of each of the two large linear layers
_LAST_LAYER: Final = ("classifier.6.weight", "classifier.6.bias")
_POOLED: Final = 6  # side of the feature maps that the linear layers see


class Preprocess(nn.Module):
    """Pixels uint8 [N, H, W, 3] from 0 to 255 to the network's input float32 [N, 3, input_size, input_size].

    Normalising comes before the bilinear resize: the two commute (the weights of a bilinear sample add up to one), and
    the small image has 49 times fewer values. Mean and std are buffers, hence in every checkpoint.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1) * 255)

    def forward(self, pixels: Tensor) -> Tensor:
        image = (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return F.interpolate(image, size=(self.input_size, self.input_size), mode="bilinear", align_corners=False)


class AlexNet(nn.Module):
    """AlexNet as torchvision builds it (https://arxiv.org/abs/1404.5997) behind `Preprocess`.

    Pixels uint8 [N, 32, 32, 3] to logits float32 [N, classes]. All channels and hidden units are multiplied by `width`.
    """

    def __init__(self, classes: int, input_size: int, dropout: float = 0.5, width: float = 1.0) -> None:
        super().__init__()
        self.preprocess = Preprocess(input_size)
        self.classes = classes
        self.network = _Layers(classes, dropout, width)

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.network(self.preprocess(pixels))
        return logits.float()


class _Layers(nn.Module):
    """The layers under torchvision's names, and made in its order, so that a seed gives the same initial weights."""

    def __init__(self, classes: int, dropout: float, width: float) -> None:
        super().__init__()
        conv1, conv2, conv3, conv4, conv5 = (round(width * channels) for channels in _CHANNELS)
        hidden = round(width * _HIDDEN)
        self.features = nn.Sequential(
            nn.Conv2d(3, conv1, 11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(conv1, conv2, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(conv2, conv3, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(conv3, conv4, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(conv4, conv5, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(_POOLED)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(conv5 * _POOLED**2, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, classes),
        )

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.classifier(torch.flatten(self.avgpool(self.features(image)), 1))
        return logits


def load_initial_weights(model: AlexNet, init: str) -> None:
    """Fill the layers that `init` has weights for; the others keep their fresh values.

    `init` is `imagenet` (torchvision's weights, downloaded: all layers whose shape fits), `none`, or the path of a
    `.safetensors` file with at least the ten tensors `features.{0,3,6,8,10}.{weight,bias}`, as `alexnet compress
    --release` writes. Its last layer is left out where it is one of another number of classes.
    Raises `UserError` when the weights cannot be had or do not fit.
    """
    if init == "none":
        return
    fresh = model.network.state_dict()
    if init == "imagenet":
        found = _download_imagenet()
        found = {name: value for name, value in found.items() if value.shape == fresh[name].shape}
    else:
        found = _merge_factors(_read_safetensors(Path(init)))
        if any(name in found and len(found[name]) != len(fresh[name]) for name in _LAST_LAYER):
            found = {name: value for name, value in found.items() if name not in _LAST_LAYER}
    for name, value in found.items():
        if name not in fresh or value.shape != fresh[name].shape:
            raise UserError(f"--init {init}: {name} of shape {tuple(value.shape)} is no tensor of this AlexNet")
    missing = sorted(name for name in fresh if name.startswith("features.") and name not in found)
    if missing:
        raise UserError(f"--init {init}: {missing[0]} is missing; the file must hold all convolution layers")
    model.network.load_state_dict({**fresh, **found})


def _merge_factors(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Float32 tensors; a layer's `up.weight` [out, rank] and `down.weight` [rank, in] become their product."""
    found = {name: value.float() for name, value in found.items()}
    for name in [name for name in found if name.endswith(".down.weight")]:
        layer = name.removesuffix(".down.weight")
        if f"{layer}.up.weight" in found:
            found[f"{layer}.weight"] = found.pop(f"{layer}.up.weight") @ found.pop(name)
            found[f"{layer}.bias"] = found.pop(f"{layer}.up.bias")
    return found


def _download_imagenet() -> dict[str, Tensor]:
    try:
        return dict(AlexNet_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True))
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"could not download torchvision's AlexNet weights ({error}): give a .safetensors file, or --init none"
        ) from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    if path.suffix != ".safetensors":
        raise UserError(f"--init {path}: give imagenet, none, or a file that ends in .safetensors or .pt")
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise UserError(f"--init {path}: no such file") from error
    except (OSError, SafetensorError) as error:
        raise UserError(f"--init {path}: not a readable safetensors file ({error})") from error
