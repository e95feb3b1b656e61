"""Layers of lower rank, with nearly the responses of the layers that they replace.

In: a linear layer or a convolution, and its inputs or responses on real images. Out: two or three smaller layers. Ranks
are fitted to the responses, not to the weights: where inputs are correlated, these are different problems.
"""

import copy
import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_OVERSAMPLING = 8  # random vectors beyond the rank, which make the leading components exact
_RIDGE = 1e-5  # of the mean variance, added to each so that the covariance has an inverse


@dataclass(frozen=True)
class Components:
    """Principal components of a layer's responses before its bias: `mean` [outputs], `vectors` [outputs, n]."""

    mean: Tensor
    vectors: Tensor


def principal_components(responses: Tensor, rank: int) -> Components:
    """The first `rank` principal components of `responses` [N, outputs]; the same for the same responses."""
    mean = responses.mean(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the decomposition begins with random vectors
        _, _, vectors = torch.svd_lowrank(responses - mean, q=min(rank + _OVERSAMPLING, *responses.shape), niter=4)
    return Components(mean, vectors[:, :rank])


def factorise(layer: nn.Linear, components: Components, rank: int) -> nn.Sequential:
    """Two linear layers, [rank, in] and [out, rank]: the responses of `layer` projected on their first components.

    Of all pairs of layers of this rank, their responses are the closest to those of `layer`, in the sum of squares
    (reduced-rank regression; Izenman, Journal of Multivariate Analysis 5, 1975).
    """
    vectors = components.vectors[:, :rank]
    first = nn.Linear(layer.in_features, rank, bias=False)
    second = nn.Linear(rank, layer.out_features)
    with torch.no_grad():
        first.weight.copy_(vectors.T @ layer.weight)
        second.weight.copy_(vectors)
        second.bias.copy_(layer.bias + components.mean - vectors @ (vectors.T @ components.mean))
    return nn.Sequential(first, second)


def convolution(inputs: int, outputs: int, kernel: int, rank: float) -> nn.Conv2d | nn.Sequential:
    """A convolution with the same height and width in and out; three, of ranks `rank` times its channels, below 1."""
    if rank == 1:
        return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    return _three(inputs, outputs, kernel, ranks(inputs, outputs, rank))


def ranks(inputs: int, outputs: int, rank: float) -> tuple[int, int]:
    """The ranks of `tucker2` that are the share `rank` of a convolution's channels."""
    return max(1, round(rank * inputs)), max(1, round(rank * outputs))


@torch.no_grad()
def factorise_convolutions(layers: nn.Sequential, images: Tensor, rank: float) -> nn.Sequential:
    """A copy of `layers`, with each `nn.Conv2d` but the first as three; fitted one after the other to `images`
    [N, channels, H, W], so that each sees what those before it give now.
    """
    reduced = copy.deepcopy(layers).eval()
    _, *places = (place for place, layer in enumerate(layers) if isinstance(layer, nn.Conv2d))
    for place in places:
        layer = layers[place]
        assert isinstance(layer, nn.Conv2d)
        found = ranks(layer.in_channels, layer.out_channels, rank)
        reduced[place] = tucker2(layer, reduced[:place](images), found)
    return reduced


@torch.no_grad()
def tucker2(layer: nn.Conv2d, inputs: Tensor, ranks: tuple[int, int]) -> nn.Sequential:
    """Three convolutions for one: 1x1 to `ranks[0]` channels, that of `layer` to `ranks[1]`, 1x1 to its outputs.

    Tucker decomposition along both channel axes (https://arxiv.org/abs/1511.06530), fitted to `inputs`
    [N, in, H, W]: the inputs are reduced in the coordinates in which they are uncorrelated, so that what is left out is
    what the responses need least; the outputs are projected on the principal components of the responses. Both 1x1
    kernels are orthonormal, so that the weights and their gradients have the scale of those of `layer`.
    """
    assert layer.groups == 1
    assert layer.stride == (1, 1)
    narrow, wide = ranks
    responses = F.conv2d(inputs, layer.weight, None, padding=layer.padding)
    found = principal_components(responses.transpose(0, 1).flatten(1).T, wide)
    outputs = found.vectors  # [out, wide]
    kernel = torch.einsum("oihw,or->rihw", layer.weight, outputs)

    root, inverse = _covariance_roots(inputs.transpose(0, 1).flatten(1))
    unfolded = torch.einsum("rihw,ij->jrhw", kernel, root).flatten(1)
    vectors = torch.linalg.svd(unfolded, full_matrices=False)[0][:, :narrow]  # [in, narrow]
    basis, rest = torch.linalg.qr(inverse @ vectors)  # [in, narrow], orthonormal

    layers = _three(layer.in_channels, layer.out_channels, layer.kernel_size[0], ranks)
    first, middle, last = (part for part in layers if isinstance(part, nn.Conv2d))
    first.weight.copy_(basis.T[..., None, None])
    middle.weight.copy_(torch.einsum("rihw,ij->rjhw", kernel, root @ vectors @ rest.T))
    last.weight.copy_(outputs[..., None, None])
    bias = torch.zeros(layer.out_channels) if layer.bias is None else layer.bias
    assert last.bias is not None
    last.bias.copy_(bias + found.mean - outputs @ (outputs.T @ found.mean))
    return layers


def _three(inputs: int, outputs: int, kernel: int, ranks: tuple[int, int]) -> nn.Sequential:
    narrow, wide = ranks
    return nn.Sequential(
        nn.Conv2d(inputs, narrow, 1, bias=False),
        nn.Conv2d(narrow, wide, kernel, padding=kernel // 2, bias=False),
        nn.Conv2d(wide, outputs, 1),
    )


def merge_tucker2(layers: nn.Sequential) -> Tensor:
    """The kernel [out, in, H, W] of the one convolution that does what the three of `tucker2` do."""
    first, middle, last = (layer.weight.detach() for layer in layers if isinstance(layer, nn.Conv2d))
    return torch.einsum("or,rjhw,ji->oihw", last[..., 0, 0], middle, first[..., 0, 0])


@torch.no_grad()
def rotate(layers: nn.Sequential, generator: torch.Generator) -> None:
    """Rotate what each of `layers` gives to the next by a random orthogonal matrix; together they compute the same.

    Of the components of a low rank the first vary most, so that 8 bits with one scale keep little of the others. After
    a rotation all vary alike (https://arxiv.org/abs/2404.00456). Only the last layer has a bias.
    """
    parts = [layer for layer in layers if isinstance(layer, nn.Conv2d | nn.Linear)]
    for before, after in itertools.pairwise(parts):
        assert before.bias is None
        count = len(before.weight)
        rotation, _ = torch.linalg.qr(torch.randn(count, count, generator=generator, dtype=torch.float64))
        before.weight.copy_(torch.einsum("ro,o...->r...", rotation, before.weight.double()))
        after.weight.copy_(torch.einsum("ri,oi...->or...", rotation, after.weight.double()))


def _covariance_roots(values: Tensor) -> tuple[Tensor, Tensor]:
    """The symmetric square root of the second moments of `values` [channels, N], and its inverse."""
    moments = values.double() @ values.T.double() / values.shape[1]
    eigenvalues, vectors = torch.linalg.eigh(moments)
    roots = (eigenvalues.clamp(min=0) + _RIDGE * eigenvalues.mean()).sqrt()
    return ((vectors * roots) @ vectors.T).float(), ((vectors / roots) @ vectors.T).float()
