"""The lowest rank of the two large linear layers that keeps the accuracy.

In: a `FoldedAlexNet`, training images to fit to and validation images to judge by. Out: a network whose two large
linear layers are factorised, and what each rank gave.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from rich.progress import Progress
from torch import Tensor, nn

from alexnet.datasets import Images
from alexnet.evaluation.scores import score
from training.export import low_rank
from training.export.folding import FoldedAlexNet

_BATCH = 100
_TUNING_BATCH = 128
_TUNING_RATE = 1e-4
_TUNING_TEMPERATURE = 2.0


@dataclass(frozen=True)
class Choice:
    """The chosen `network` and its `rank`; `tried` holds the macro F1 on the validation images of each rank tried."""

    network: FoldedAlexNet
    rank: int
    tried: dict[int, float]


def choose(
    network: FoldedAlexNet,
    training: Images,
    validation: Images,
    ranks: Sequence[int],
    *,
    allowed: float,
    steps: int,
    progress: Progress,
) -> Choice:
    """Try `ranks`, smallest first, until one loses at most `allowed` of macro F1; without such a one take the best.

    Each is fine-tuned by `steps` steps of Adam towards the answers of `network`; the convolution layers stay.
    """
    inputs = features(network, training, progress)
    held_out = features(network, validation, progress)
    first_layer, second_layer = (_linear(layers) for layers in (network.first, network.second))
    whole = _macro_f1(network, held_out, validation)
    with torch.inference_mode():
        target = network.classify(inputs)
        hidden = F.relu(first_layer(inputs))
        first = low_rank.principal_components(F.linear(inputs, first_layer.weight), max(ranks))
        second = low_rank.principal_components(F.linear(hidden, second_layer.weight), max(ranks))
    best: Choice | None = None
    tried: dict[int, float] = {}
    for rank in sorted(ranks):
        candidate = copy.deepcopy(network)
        candidate.first = low_rank.factorise(first_layer, first, rank)
        candidate.second = low_rank.factorise(second_layer, second, rank)
        if steps:
            _tune(candidate, inputs.clone(), target.clone(), steps)
        tried[rank] = _macro_f1(candidate, held_out, validation)
        if best is None or tried[rank] > best.tried[best.rank]:
            best = Choice(candidate, rank, tried)
        if tried[rank] >= whole - allowed:
            return Choice(candidate, rank, tried)
    assert best is not None
    return best


@torch.inference_mode()
def features(network: FoldedAlexNet, images: Images, progress: Progress) -> Tensor:
    """The input of the first linear layer, float32 [N, in], of all images."""
    parts = []
    for part in progress.track(torch.from_numpy(images.pixels).split(_BATCH), description="features"):
        parts.append(torch.flatten(network.feature_maps(part), 1))
    return torch.cat(parts)


def _macro_f1(network: FoldedAlexNet, inputs: Tensor, images: Images) -> float:
    with torch.inference_mode():
        logits = network.classify(inputs).numpy()
    return score(images.labels, logits.argmax(1), logits.shape[1]).macro_f1


def _tune(network: FoldedAlexNet, inputs: Tensor, target: Tensor, steps: int) -> None:
    """Learn the soft answers `target` logits [N, classes] to `inputs` [N, in]."""
    layers = nn.ModuleList([network.first, network.second, network.last])
    optimizer = torch.optim.Adam(layers.parameters(), _TUNING_RATE)
    wanted = torch.softmax(target / _TUNING_TEMPERATURE, 1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        indices = torch.randint(len(inputs), (_TUNING_BATCH,), generator=generator)
        logits = network.classify(inputs[indices])
        loss = F.cross_entropy(logits / _TUNING_TEMPERATURE, wanted[indices])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _linear(layers: nn.Sequential) -> nn.Linear:
    (layer,) = layers
    assert isinstance(layer, nn.Linear)
    return layer
