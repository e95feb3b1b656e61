"""AlexNet with fewer multiplications and the same answers.

In: an `AlexNet`. Out: a `Lean` network that computes the same logits from the same pixels: the bilinear resize is two
small matrix products, the division by the standard deviation is part of the first convolution, and the adaptive pooling
part of the first linear layer. Its linear layers can then be factorised by what they answer to real images.
"""

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet.datasets.cifar10 import SIDE
from training.networks.alexnet import AlexNet

_SPARE = 8  # vectors beyond those wanted, which make the others exact


@dataclass(frozen=True)
class Directions:
    """Where what a linear layer answers to real images varies most: `vectors` [outputs, n], best first, from `mean`."""

    mean: Tensor
    vectors: Tensor


class Lean(nn.Module):
    """Pixels uint8 [N, 32, 32, 3] to logits float32 [N, classes] and a `code` float32 [N, 256] of what is to be seen.

    The code is the mean of each of the last feature maps: closer to the image than what the linear layers make of it.
    """

    mean: Tensor
    resize: Tensor

    def __init__(self, model: AlexNet) -> None:
        super().__init__()
        network = copy.deepcopy(model.network).eval()
        self.register_buffer("mean", model.preprocess.mean.clone())
        self.register_buffer("resize", bilinear(SIDE, model.preprocess.input_size))
        self.features = network.features
        first = self.features[0]
        first.weight = nn.Parameter(first.weight.detach() / model.preprocess.std.view(1, 3, 1, 1))
        layers = [layer for layer in network.classifier if isinstance(layer, nn.Linear)]
        with torch.inference_mode():
            side = self.features(torch.zeros(1, 3, model.preprocess.input_size, model.preprocess.input_size)).shape[-1]
        layers[0] = fold_pooling(layers[0], side, network.avgpool)
        self.first, self.second, self.last = (nn.Sequential(layer) for layer in layers)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        maps = self._maps(pixels)
        return self.answer(torch.flatten(maps, 1)), maps.mean((2, 3))

    def answer(self, flat: Tensor) -> Tensor:
        """The logits of what `flat` gave."""
        logits: Tensor = self.last(F.relu(self.second(F.relu(self.first(flat)))))
        return logits

    def flat(self, pixels: Tensor) -> Tensor:
        """The input of the first linear layer, float32 [N, 256 side²]."""
        return torch.flatten(self._maps(pixels), 1)

    def _maps(self, pixels: Tensor) -> Tensor:
        """The last feature maps, float32 [N, 256, side, side]."""
        image = pixels.permute(0, 3, 1, 2).float() - self.mean
        maps: Tensor = self.features(self.resize @ image @ self.resize.T)
        return maps


def bilinear(size: int, output: int) -> Tensor:
    """The matrix float32 [output, size] by which `F.interpolate` resizes a row or a column bilinearly."""
    unit = torch.eye(size, dtype=torch.float64)[None]
    return F.interpolate(unit, size=output, mode="linear", align_corners=False)[0].T.float().contiguous()


def fold_pooling(layer: nn.Linear, side: int, pooling: nn.Module) -> nn.Linear:
    """The linear layer that does to features [256, side, side] what `layer` does to the pooled ones.

    Average pooling is linear. A map that is smaller than the pooled one makes the layer smaller, too.
    """
    pooled = pooling(torch.eye(side * side, dtype=torch.float64).view(side * side, 1, side, side)).flatten(1)
    places, inputs = pooled.shape[1], side * side
    weight = layer.weight.detach().double().view(layer.out_features, -1, places) @ pooled.T
    folded = nn.Linear(weight.shape[1] * inputs, layer.out_features)
    with torch.no_grad():
        folded.weight.copy_(weight.flatten(1))
        folded.bias.copy_(layer.bias)
    return folded


def directions(layer: nn.Linear, inputs: Tensor, rank: int) -> Directions:
    """The `rank` principal directions of the answers, before their bias, to `inputs` [N, in]."""
    answers = F.linear(inputs, layer.weight)
    mean = answers.mean(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the decomposition begins with random vectors
        _, _, vectors = torch.svd_lowrank(answers - mean, q=min(rank + _SPARE, *answers.shape), niter=4)
    return Directions(mean, vectors[:, :rank])


def factorise(layer: nn.Linear, found: Directions, rank: int) -> nn.Sequential:
    """Two layers of `rank` [rank, in] and [out, rank] for one: its answers, projected on their first directions.

    Of all pairs of layers this one comes closest to the answers themselves, in the sum of squares (reduced-rank
    regression; Izenman, Journal of Multivariate Analysis 5, 1975). The truncated singular value decomposition comes
    closest to the weights, which is another thing where inputs are correlated.
    """
    vectors = found.vectors[:, :rank]
    first = nn.Linear(layer.in_features, rank, bias=False)
    second = nn.Linear(rank, layer.out_features)
    with torch.no_grad():
        first.weight.copy_(vectors.T @ layer.weight)
        second.weight.copy_(vectors)
        second.bias.copy_(layer.bias + found.mean - vectors @ (vectors.T @ found.mean))
    return nn.Sequential(first, second)
