"""The lowest ranks that keep the accuracy.

In: a `FoldedAlexNet`, training images to fit to and held-out images to judge by. Out: a network whose two large linear
layers, and where asked for whose second convolution, have a low rank; and what each rank gave.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from rich.progress import Progress
from torch import Tensor, nn

from alexnet.datasets import Images
from alexnet.evaluation.scores import score
from training.export import low_rank
from training.export.folding import FoldedAlexNet

ConvRanks = tuple[int, int]

_BATCH = 100
_CONVOLUTION_IMAGES = 256  # to whose responses the convolution is fitted
_TUNING_BATCH = 128
_TUNING_RATE = 1e-4
_TUNING_TEMPERATURE = 2.0


@dataclass(frozen=True)
class Search:
    """What is tried, lowest first, and how much macro F1 (0 to 1) may be lost.

    Each candidate is fine-tuned by `steps` steps of Adam towards the logits of the original network. No `conv_ranks`
    leave the convolution as it is.
    """

    ranks: Sequence[int]
    conv_ranks: Sequence[ConvRanks]
    allowed: float
    steps: int
    progress: Progress


@dataclass(frozen=True)
class Choice:
    """The chosen `network` with its ranks; `tried` is the macro F1 on the held-out images of each linear rank.

    `predicted` int64 [N] are the classes that the original network gives the held-out images.
    """

    network: FoldedAlexNet
    rank: int
    conv_ranks: ConvRanks | None
    tried: dict[int, float]
    predicted: Tensor


def choose(network: FoldedAlexNet, training: Images, held_out: Images, search: Search) -> Choice:
    """The lowest ranks within what is allowed; of the linear layers the best where none is."""
    inputs, held_out_inputs = (features(network, images, search.progress) for images in (training, held_out))
    with torch.inference_mode():
        target, original = network.classify(inputs), network.classify(held_out_inputs)
    whole = _macro_f1(original, held_out)
    conv_ranks = None
    if search.conv_ranks:
        reduced = _choose_convolution(network, training, held_out, target, whole, search)
        if reduced is not None:
            network, conv_ranks = reduced
            inputs, held_out_inputs = (features(network, images, search.progress) for images in (training, held_out))
    best: Choice | None = None
    tried: dict[int, float] = {}
    for rank, candidate in _linear_candidates(network, inputs, target, search):
        with torch.inference_mode():
            tried[rank] = _macro_f1(candidate.classify(held_out_inputs), held_out)
        if best is None or tried[rank] > tried[best.rank]:
            best = Choice(candidate, rank, conv_ranks, tried, original.argmax(1))
        if tried[rank] >= whole - search.allowed:
            return Choice(candidate, rank, conv_ranks, tried, original.argmax(1))
    assert best is not None
    return best


@torch.inference_mode()
def features(network: FoldedAlexNet, images: Images, progress: Progress) -> Tensor:
    """The input of the first linear layer, float32 [N, in], of all images."""
    parts = []
    for part in progress.track(torch.from_numpy(images.pixels).split(_BATCH), description="features"):
        parts.append(torch.flatten(network.feature_maps(part), 1))
    return torch.cat(parts)


def reduce_convolution(network: FoldedAlexNet, pixels: Tensor, ranks: ConvRanks) -> FoldedAlexNet:
    """A copy of `network` with its second convolution as three of `ranks`, fitted to `pixels` uint8 [N, 32, 32, 3]."""
    reduced = copy.deepcopy(network)
    _, place, *_ = (i for i, layer in enumerate(reduced.features) if isinstance(layer, nn.Conv2d))
    layer = reduced.features[place]
    assert isinstance(layer, nn.Conv2d)
    with torch.no_grad():
        inputs = reduced.features[:place](reduced.image(pixels))
        reduced.features[place] = low_rank.tucker2(layer, inputs, ranks)
    return reduced


def _choose_convolution(
    network: FoldedAlexNet, training: Images, held_out: Images, target: Tensor, whole: float, search: Search
) -> tuple[FoldedAlexNet, ConvRanks] | None:
    """The network with the lowest ranks that lose at most half of what is allowed; a single pair is taken anyway."""
    pixels = torch.from_numpy(training.pixels)
    for ranks in sorted(search.conv_ranks):
        candidate = reduce_convolution(network, pixels[:_CONVOLUTION_IMAGES], ranks)
        _tune_features(candidate, pixels, target, search)
        if len(search.conv_ranks) == 1:
            return candidate, ranks
        with torch.inference_mode():
            found = _macro_f1(candidate.classify(features(candidate, held_out, search.progress)), held_out)
        if found >= whole - search.allowed / 2:
            return candidate, ranks
    return None


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
            _tune_classifier(candidate, inputs, target, search.steps)
        yield rank, candidate


def _macro_f1(logits: Tensor, images: Images) -> float:
    return score(images.labels, logits.argmax(1).numpy(), logits.shape[1]).macro_f1


def _tune_classifier(network: FoldedAlexNet, inputs: Tensor, target: Tensor, steps: int) -> None:
    """Distil the logits `target` [N, classes] into the linear layers, which see `inputs` [N, in]."""
    layers = nn.ModuleList([network.first, network.second, network.last])
    inputs, target = inputs.clone(), target.clone()  # of inference mode, which autograd refuses
    _distil(layers, lambda indices: network.classify(inputs[indices]), target, steps)


def _tune_features(network: FoldedAlexNet, pixels: Tensor, target: Tensor, search: Search) -> None:
    """Distil the logits `target` [N, classes] of `pixels` into the convolutions."""
    task = search.progress.add_task("fine-tuning the convolutions", total=search.steps)

    def logits(indices: Tensor) -> Tensor:
        search.progress.advance(task)
        found: Tensor = network(pixels[indices])[0]
        return found

    _distil(network.features, logits, target.clone(), search.steps)
    search.progress.remove_task(task)


def _distil(layers: nn.Module, logits: Callable[[Tensor], Tensor], target: Tensor, steps: int) -> None:
    """`steps` steps of Adam on the parameters of `layers`: the `logits` at some indices towards those of `target`."""
    optimizer = torch.optim.Adam(layers.parameters(), _TUNING_RATE)
    wanted = torch.softmax(target / _TUNING_TEMPERATURE, 1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        indices = torch.randint(len(target), (_TUNING_BATCH,), generator=generator)
        loss = F.cross_entropy(logits(indices) / _TUNING_TEMPERATURE, wanted[indices])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _linear(layers: nn.Sequential) -> nn.Linear:
    (layer,) = layers
    assert isinstance(layer, nn.Linear)
    return layer
