"""Layers of lower rank: exact at the full rank, the closest to the responses below it."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks import low_rank


def test_the_full_rank_changes_nothing_and_a_lower_one_is_the_closest_there_is() -> None:
    torch.manual_seed(0)
    layer, inputs = nn.Linear(30, 20), torch.randn(500, 30) * torch.linspace(3, 0.1, 30)
    with torch.inference_mode():
        found = low_rank.principal_components(F.linear(inputs, layer.weight), 20)
        torch.testing.assert_close(low_rank.factorise(layer, found, 20)(inputs), layer(inputs), atol=1e-4, rtol=0)
        small = low_rank.factorise(layer, found, 5)
        assert [tuple(part.weight.shape) for part in small] == [(5, 30), (20, 5)]
        answers = layer(inputs).double()
        left_out = torch.linalg.svdvals(answers - answers.mean(0))[5:].square().sum()
        torch.testing.assert_close((small(inputs).double() - answers).square().sum(), left_out, rtol=1e-3, atol=0)


def test_it_comes_closer_to_the_answers_than_the_decomposition_of_the_weights() -> None:
    torch.manual_seed(0)
    layer, inputs = nn.Linear(30, 20), torch.randn(500, 30) * torch.linspace(3, 0.1, 30)
    with torch.inference_mode():
        ours = low_rank.factorise(layer, low_rank.principal_components(F.linear(inputs, layer.weight), 5), 5)
        u, s, v = torch.linalg.svd(layer.weight, full_matrices=False)
        plain = inputs @ ((u[:, :5] * s[:5]) @ v[:5]).T + layer.bias
        assert F.mse_loss(ours(inputs), layer(inputs)) < 0.8 * F.mse_loss(plain, layer(inputs))


def test_the_components_are_the_same_every_time_and_leave_the_generator_alone() -> None:
    torch.manual_seed(0)
    layer, inputs = nn.Linear(30, 20), torch.randn(100, 30)
    state = torch.get_rng_state()
    first = low_rank.principal_components(F.linear(inputs, layer.weight), 4).vectors
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert torch.equal(low_rank.principal_components(F.linear(inputs, layer.weight), 4).vectors, first)


@pytest.fixture
def convolution() -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(12, 20, 5, padding=2)


@pytest.fixture
def maps() -> Tensor:
    """Inputs [N, 12, H, W] whose channels are correlated."""
    torch.manual_seed(1)
    independent = torch.randn(16, 12, 9, 9) * torch.linspace(3, 0.1, 12)[:, None, None]
    return torch.einsum("nihw,ij->njhw", independent, torch.randn(12, 12))


def test_tucker2_of_the_full_ranks_changes_nothing(convolution: nn.Conv2d, maps: Tensor) -> None:
    found = low_rank.tucker2(convolution, maps, (12, 20))
    torch.testing.assert_close(found(maps), convolution(maps), atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(low_rank.merge_tucker2(found), convolution.weight, atol=1e-4, rtol=0)


def test_tucker2_is_closer_to_the_responses_than_that_of_the_weights(convolution: nn.Conv2d, maps: Tensor) -> None:
    found = low_rank.tucker2(convolution, maps, (6, 8))
    assert [tuple(layer.weight.shape) for layer in found] == [(6, 12, 1, 1), (8, 6, 5, 5), (20, 8, 1, 1)]
    outputs = torch.linalg.svd(convolution.weight.flatten(1))[0][:, :8]
    inputs = torch.linalg.svd(convolution.weight.transpose(0, 1).flatten(1))[0][:, :6]
    plain = torch.einsum("oihw,or,sr,ij,kj->skhw", convolution.weight, outputs, outputs, inputs, inputs)
    expected = convolution(maps)
    error = F.mse_loss(F.conv2d(maps, plain, convolution.bias, padding=2), expected)
    assert F.mse_loss(found(maps), expected) < 0.8 * error


@pytest.mark.parametrize(
    "layers", [low_rank.convolution(64, 48, 3, 0.5), nn.Sequential(nn.Linear(64, 32, bias=False), nn.Linear(32, 24))]
)
@torch.inference_mode()
def test_rotated_layers_compute_the_same_and_lose_less_in_8_bits(layers: nn.Sequential) -> None:
    torch.manual_seed(0)
    first = layers[0]
    first.weight *= 0.85 ** torch.arange(len(first.weight)).view(-1, *[1] * (first.weight.ndim - 1))
    image = torch.randn(64, 64, 8, 8) if isinstance(first, nn.Conv2d) else torch.randn(256, 64)
    rotated = copy.deepcopy(layers)
    low_rank.rotate(rotated, torch.Generator().manual_seed(0))
    torch.testing.assert_close(rotated(image), layers(image), atol=1e-4, rtol=0)
    assert not torch.allclose(rotated[0](image), first(image), atol=0.1)

    def error(of: nn.Sequential) -> float:
        values = of[0](image)
        step = (values.max() - values.min()) / 255
        rounded = (values / step).round() * step
        return float((of[1:](rounded) - of(image)).square().mean())

    assert error(rotated) < 0.5 * error(layers)
