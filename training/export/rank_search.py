"""The lowest rank that keeps the accuracy.

In: a `FoldedAlexNet`, training images to fit to and held-out images to judge by. Out: a network whose two large linear
layers have a low rank; and what each rank gave.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from rich.progress import Progress
from torch import Tensor, nn

from alexnet.datasets import Images
from alexnet.evaluation.scores import score
from training.export.folding import FoldedAlexNet
from training.networks import low_rank

_BATCH = 100
_TUNING_BATCH = 128
_TUNING_RATE = 1e-4
_TUNING_TEMPERATURE = 2.0


@dataclass(frozen=True)
class Search:
    """What is tried, lowest first, and how much macro F1 (0 to 1) may be lost.

    Each candidate is fine-tuned by `steps` steps of Adam towards the logits of the original network.
    """

    ranks: Sequence[int]
    allowed: float
    steps: int
    progress: Progress


@dataclass(frozen=True)
class Choice:
    """The chosen `network` with its rank; `tried` is the macro F1 on the held-out images of each rank.

    `predicted` int64 [N] are the classes that the original network gives the held-out images.
    """

    network: FoldedAlexNet
    rank: int
    tried: dict[int, float]
    predicted: Tensor


def choose(network: FoldedAlexNet, training: Images, held_out: Images, search: Search) -> Choice:
    """The lowest rank within what is allowed; the best where none is."""
    inputs, held_out_inputs = (features(network, images, search.progress) for images in (training, held_out))
    with torch.inference_mode():
        target, original = network.classify(inputs), network.classify(held_out_inputs)
    whole = _macro_f1(original, held_out)
    best: Choice | None = None
    tried: dict[int, float] = {}
    for rank, candidate in _linear_candidates(network, inputs, target, search):
        with torch.inference_mode():
            tried[rank] = _macro_f1(candidate.classify(held_out_inputs), held_out)
        if best is None or tried[rank] > tried[best.rank]:
            best = Choice(candidate, rank, tried, original.argmax(1))
        if tried[rank] >= whole - search.allowed:
            return Choice(candidate, rank, tried, original.argmax(1))
    assert best is not None
    return best


@torch.inference_mode()
def features(network: FoldedAlexNet, images: Images, progress: Progress) -> Tensor:
    """The input of the first linear layer, float32 [N, in], of all images."""
    parts = []
    for part in progress.track(torch.from_numpy(images.pixels).split(_BATCH), description="features"):
        parts.append(torch.flatten(network.feature_maps(part), 1))
    return torch.cat(parts)


def _linear_candidates(
    network: FoldedAlexNet, inputs: Tensor, target: Tensor, search: Search
) -> Iterator[tuple[int, FoldedAlexNet]]:
    """Each rank, lowest first, with the network of that rank."""
    first_layer, second_layer = (_linear(layers) for layers in (network.first, network.second))
    with torch.inference_mode():
        highest = max(search.ranks)
        first = low_rank.principal_components(F.linear(inputs, first_layer.weight), highest)
        hidden = F.relu(first_layer(inputs))
        second = low_rank.principal_components(F.linear(hidden, second_layer.weight), highest)
    for rank in sorted(search.ranks):
        candidate = copy.deepcopy(network)
        candidate.first = low_rank.factorise(first_layer, first, rank)
        candidate.second = low_rank.factorise(second_layer, second, rank)
        if search.steps:
            _tune(candidate, inputs, target, search.steps)
        yield rank, candidate


def _macro_f1(logits: Tensor, images: Images) -> float:
    return score(images.labels, logits.argmax(1).numpy(), logits.shape[1]).macro_f1


def _tune(network: FoldedAlexNet, inputs: Tensor, target: Tensor, steps: int) -> None:
    """Distil the logits `target` [N, classes] into the linear layers, which see `inputs` [N, in]: `steps` of Adam."""
    layers = nn.ModuleList([network.first, network.second, network.last])
    inputs, target = inputs.clone(), target.clone()  # of inference mode, which autograd refuses
    optimizer = torch.optim.Adam(layers.parameters(), _TUNING_RATE)
    wanted = torch.softmax(target / _TUNING_TEMPERATURE, 1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        indices = torch.randint(len(target), (_TUNING_BATCH,), generator=generator)
        loss = F.cross_entropy(network.classify(inputs[indices]) / _TUNING_TEMPERATURE, wanted[indices])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _linear(layers: nn.Sequential) -> nn.Linear:
    (layer,) = layers
    assert isinstance(layer, nn.Linear)
    return layer
