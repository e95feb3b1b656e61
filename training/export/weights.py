"""The weights of a compressed network as a safetensors file, to fine-tune from.

In: a `FoldedAlexNet` whose linear layers are factorised. Out: a file of float16 tensors under torchvision's names, for
`alexnet train --init`: convolutions [out, in, height, width]; of a factorised linear layer, whose weight is the product
of both, `up` [out, rank] and `down` [rank, in]. Normalisation and pooling are those of `AlexNet`, not folded.
"""

from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from alexnet.inference.metadata import ModelMetadata
from training.export.folding import FoldedAlexNet, pooling_matrix
from training.networks import low_rank
from training.networks.alexnet import AlexNet
from training.networks.stem import FoldedStem

_LINEAR_PLACES = (1, 4, 6)  # of the linear layers in torchvision's classifier


def save_weights(path: Path, network: FoldedAlexNet, model: AlexNet, metadata: ModelMetadata) -> None:
    """Write the weights of `network`, folded from `model`, with `metadata`."""
    tensors = {name: value.half().contiguous() for name, value in unfold(network, model).items()}
    path.write_bytes(save(tensors, metadata.to_props()))  # `save_file` lets only its owner read it


def unfold(network: FoldedAlexNet, model: AlexNet) -> dict[str, Tensor]:
    """The tensors of an `AlexNet` that computes what `network` does, float32, by their names in the file."""
    found: dict[str, Tensor] = {}
    for place, layer in enumerate(network.features):
        if isinstance(layer, nn.Sequential):
            last = layer[-1]
            assert isinstance(last, nn.Conv2d)
            found |= _tensors(f"features.{place}", low_rank.merge_tucker2(layer), last.bias)
        elif isinstance(layer, FoldedStem):
            found |= _tensors(f"features.{place}", *layer.unfolded)
        elif isinstance(layer, nn.Conv2d):
            found |= _tensors(f"features.{place}", layer.weight, layer.bias)
    for place, layers in zip(_LINEAR_PLACES, (network.first, network.second, network.last), strict=True):
        name = f"classifier.{place}"
        *down, up = (layer for layer in layers if isinstance(layer, nn.Linear))
        if down:
            found[f"{name}.down.weight"] = down[0].weight.detach()
            name += ".up"
        found |= _tensors(name, up.weight, up.bias)
    return undo_folding(found, network.side, model)


def undo_folding(found: dict[str, Tensor], side: int, model: AlexNet) -> dict[str, Tensor]:
    """`found`, of a network folded from one like `model` whose last maps have `side`, without what folding put into the
    first convolution and the first linear layer.
    """
    first = "classifier.1.down.weight" if "classifier.1.down.weight" in found else "classifier.1.weight"
    pooling = torch.linalg.pinv(pooling_matrix(side, model.network.avgpool)).float()
    weight = found[first]
    return found | {
        "features.0.weight": found["features.0.weight"] * model.preprocess.std.view(1, 3, 1, 1),
        first: (weight.view(len(weight), -1, len(pooling)) @ pooling).flatten(1),
    }


def _tensors(name: str, weight: Tensor, bias: Tensor | None) -> dict[str, Tensor]:
    assert bias is not None
    return {f"{name}.weight": weight.detach(), f"{name}.bias": bias.detach()}
