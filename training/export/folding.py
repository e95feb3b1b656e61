"""AlexNet with fewer operations and the same logits, by constant folding.

In: a trained `AlexNet`. Out: a `FoldedAlexNet`, which computes the same logits from the same pixels. The bilinear
resize is two matrix products (none where the first convolution sees the image itself), batch normalisation and the
division by the standard deviation are part of the convolutions, adaptive pooling is part of the first linear layer.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from training.networks.alexnet import GREY, AlexNet
from training.networks.stem import FoldedStem, Interleave, PolyphaseStem


class FoldedAlexNet(nn.Module):
    """Pixels uint8 [N, H, W, 3] to logits float32 [N, classes] and an embedding float32 [N, channels].

    The embedding is the mean of each of the last feature maps: it keeps more of the image than the linear layers do.
    """

    mean: Tensor
    resize: Tensor | None

    def __init__(self, model: AlexNet) -> None:
        super().__init__()
        network, size = copy.deepcopy(model.network).eval(), model.preprocess.input_size
        self.register_buffer("mean", model.preprocess.mean.clone())
        self.register_buffer("resize", None if size == model.image_size else bilinear(model.image_size, size))
        self.features = fold_batch_norm(network.features)
        stem = self.features[0]
        assert isinstance(stem, nn.Conv2d)
        stem.weight = nn.Parameter(stem.weight.detach() / model.preprocess.std.view(1, 3, 1, 1))
        if isinstance(stem, PolyphaseStem):  # its padding is grey: with grey as 0, it is the convolution's own
            self.features[0], self.features[1] = FoldedStem(stem, self.mean.flatten() - GREY), Interleave(stem.scale)
            self.mean = torch.tensor(float(GREY))
        layers = [layer for layer in network.classifier if isinstance(layer, nn.Linear)]
        with torch.inference_mode():
            self.side: int = self.features(torch.zeros(1, 3, size, size)).shape[-1]
        layers[0] = fold_pooling(layers[0], self.side, network.avgpool)
        self.first, self.second, self.last = (nn.Sequential(layer) for layer in layers)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.feature_maps(pixels)
        return self.classify(torch.flatten(maps, 1)), maps.mean((2, 3))

    def feature_maps(self, pixels: Tensor) -> Tensor:
        """The last feature maps, float32 [N, channels, side, side]."""
        maps: Tensor = self.features(self.image(pixels))
        return maps

    def image(self, pixels: Tensor) -> Tensor:
        """The input of the first convolution, float32 [N, 3, size, size]."""
        image = pixels.permute(0, 3, 1, 2).float() - self.mean
        return image if self.resize is None else self.resize @ image @ self.resize.T

    def classify(self, features: Tensor) -> Tensor:
        """The logits of flattened feature maps float32 [N, channels side²]."""
        logits: Tensor = self.last(F.relu(self.second(F.relu(self.first(features)))))
        return logits


class FoldedProbabilities(nn.Module):
    """A `FoldedAlexNet` with softmax, to compare its file with."""

    def __init__(self, network: FoldedAlexNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.softmax(self.network(pixels)[0], dim=1)


def bilinear(size: int, output: int) -> Tensor:
    """The matrix float32 [output, size] by which `F.interpolate` resizes a row or a column bilinearly."""
    unit = torch.eye(size, dtype=torch.float64)[None]
    return F.interpolate(unit, size=output, mode="linear", align_corners=False)[0].T.float().contiguous()


def fold_batch_norm(layers: nn.Sequential) -> nn.Sequential:
    """`layers` in evaluation mode, with each `BatchNorm2d` as part of the convolution before it."""
    folded: list[nn.Module] = []
    for layer in layers.eval():
        if isinstance(layer, nn.BatchNorm2d):
            assert isinstance(folded[-1], nn.Conv2d), "batch normalisation follows a convolution"
            folded[-1] = fuse_conv_bn_eval(folded[-1], layer)
        else:
            folded.append(layer)
    return nn.Sequential(*folded)


def fold_pooling(layer: nn.Linear, side: int, pooling: nn.Module) -> nn.Linear:
    """The linear layer that does to feature maps [channels, side, side] what `layer` does to the pooled ones.

    Average pooling is linear. A map that is smaller than the pooled one makes the layer smaller, too.
    """
    matrix = pooling_matrix(side, pooling)
    weight = layer.weight.detach().double().view(layer.out_features, -1, len(matrix)) @ matrix
    folded = nn.Linear(weight[0].numel(), layer.out_features)
    with torch.no_grad():
        folded.weight.copy_(weight.flatten(1))
        folded.bias.copy_(layer.bias)
    return folded


def pooling_matrix(side: int, pooling: nn.Module) -> Tensor:
    """What `pooling` does to a flattened map, float64 [pooled, side²]."""
    unit = torch.eye(side * side, dtype=torch.float64).view(side * side, 1, side, side)
    matrix: Tensor = pooling(unit).flatten(1).T
    return matrix
