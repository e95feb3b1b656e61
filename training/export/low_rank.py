"""Layers of lower rank, with nearly the responses of the layers that they replace.

In: a linear layer or a convolution, and its inputs or responses on real images. Out: two or three smaller layers. Ranks
are fitted to the responses, not to the weights: where inputs are correlated, these are different problems.
"""

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


@torch.no_grad()
def tucker2(layer: nn.Conv2d, inputs: Tensor, ranks: tuple[int, int]) -> nn.Sequential:
    """Three convolutions for one: 1x1 to `ranks[0]` channels, that of `layer` to `ranks[1]`, 1x1 to its outputs.

    Tucker decomposition along both channel axes (https://arxiv.org/abs/1511.06530), fitted to `inputs`
    [N, in, H, W]: the inputs are reduced in the coordinates in which they are uncorrelated, so that what is left out is
    what the responses need least; the outputs are projected on the principal components of the responses.
    """
    assert layer.groups == 1
    narrow, wide = ranks
    responses = F.conv2d(inputs, layer.weight, None, layer.stride, layer.padding, layer.dilation)
    found = principal_components(responses.transpose(0, 1).flatten(1).T, wide)
    outputs = found.vectors  # [out, wide]
    kernel = torch.einsum("oihw,or->rihw", layer.weight, outputs)

    root, inverse = _covariance_roots(inputs.transpose(0, 1).flatten(1))
    unfolded = torch.einsum("rihw,ij->jrhw", kernel, root).flatten(1)
    vectors = torch.linalg.svd(unfolded, full_matrices=False)[0][:, :narrow]  # [in, narrow]

    first = nn.Conv2d(layer.in_channels, narrow, 1, bias=False)
    middle = nn.Conv2d(narrow, wide, layer.kernel_size, layer.stride, layer.padding, layer.dilation, bias=False)  # type: ignore[arg-type]
    last = nn.Conv2d(wide, layer.out_channels, 1)
    first.weight.copy_((vectors.T @ inverse)[..., None, None])
    middle.weight.copy_(torch.einsum("rihw,ij->rjhw", kernel, root @ vectors))
    last.weight.copy_(outputs[..., None, None])
    bias = torch.zeros(layer.out_channels) if layer.bias is None else layer.bias
    assert last.bias is not None
    last.bias.copy_(bias + found.mean - outputs @ (outputs.T @ found.mean))
    return nn.Sequential(first, middle, last)


def merge_tucker2(layers: nn.Sequential) -> Tensor:
    """The kernel [out, in, H, W] of the one convolution that does what the three of `tucker2` do."""
    first, middle, last = (layer.weight.detach() for layer in layers if isinstance(layer, nn.Conv2d))
    return torch.einsum("or,rjhw,ji->oihw", last[..., 0, 0], middle, first[..., 0, 0])


def _covariance_roots(values: Tensor) -> tuple[Tensor, Tensor]:
    """The symmetric square root of the second moments of `values` [channels, N], and its inverse."""
    moments = values.double() @ values.T.double() / values.shape[1]
    eigenvalues, vectors = torch.linalg.eigh(moments)
    roots = (eigenvalues.clamp(min=0) + _RIDGE * eigenvalues.mean()).sqrt()
    return ((vectors * roots) @ vectors.T).float(), ((vectors / roots) @ vectors.T).float()
