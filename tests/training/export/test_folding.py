"""AlexNet with fewer multiplications: the same answers, and layers factorised by what they answer."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from alexnet.datasets.cifar10 import Images
from training.export import folding
from training.export.folding import Lean
from training.networks.alexnet import AlexNet


@pytest.mark.parametrize("size", [63, 160, 224])
def test_two_products_resize_as_interpolate_does(size: int) -> None:
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    matrix = folding.bilinear(32, size)
    expected = F.interpolate(image, size=(size, size), mode="bilinear", align_corners=False)
    torch.testing.assert_close(matrix @ image @ matrix.T, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("side", "inputs"), [(1, 5), (4, 80), (6, 180), (7, 245)])
def test_pooling_is_part_of_the_layer_after_it(side: int, inputs: int) -> None:
    """At 160 pixels the map is 4 x 4, at 224 it is 6 x 6."""
    torch.manual_seed(0)
    layer, pooling = nn.Linear(5 * 36, 8), nn.AdaptiveAvgPool2d((6, 6))
    maps = torch.randn(3, 5, side, side)
    folded = folding.fold_pooling(layer, side, pooling)
    assert folded.in_features == inputs
    torch.testing.assert_close(folded(maps.flatten(1)), layer(pooling(maps).flatten(1)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [63, 160])
def test_the_lean_network_answers_as_alexnet_does(size: int, fixture_images: Images) -> None:
    torch.manual_seed(0)
    model = AlexNet(10, size).eval()
    pixels = torch.from_numpy(fixture_images.pixels[:4])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.inference_mode():
        logits, code = Lean(model).eval()(pixels)
        torch.testing.assert_close(logits, model(pixels), atol=1e-5, rtol=0)
        features = model.network.features(model.preprocess(pixels))
        torch.testing.assert_close(code, features.mean((2, 3)), atol=1e-5, rtol=0)
    assert code.shape == (4, 256)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_full_rank_changes_nothing_and_a_lower_one_is_the_closest_there_is() -> None:
    torch.manual_seed(0)
    layer, inputs = nn.Linear(30, 20), torch.randn(500, 30) * torch.linspace(3, 0.1, 30)
    with torch.inference_mode():
        found = folding.directions(layer, inputs, 20)
        torch.testing.assert_close(folding.factorise(layer, found, 20)(inputs), layer(inputs), atol=1e-4, rtol=0)
        small = folding.factorise(layer, found, 5)
        assert [tuple(part.weight.shape) for part in small] == [(5, 30), (20, 5)]
        answers = layer(inputs).double()
        left_out = torch.linalg.svdvals(answers - answers.mean(0))[5:].square().sum()
        torch.testing.assert_close((small(inputs).double() - answers).square().sum(), left_out, rtol=1e-3, atol=0)


def test_it_comes_closer_to_the_answers_than_the_decomposition_of_the_weights() -> None:
    torch.manual_seed(0)
    layer, inputs = nn.Linear(30, 20), torch.randn(500, 30) * torch.linspace(3, 0.1, 30)
    with torch.inference_mode():
        ours = folding.factorise(layer, folding.directions(layer, inputs, 5), 5)
        u, s, v = torch.linalg.svd(layer.weight, full_matrices=False)
        plain = inputs @ ((u[:, :5] * s[:5]) @ v[:5]).T + layer.bias
        assert F.mse_loss(ours(inputs), layer(inputs)) < 0.8 * F.mse_loss(plain, layer(inputs))


def test_the_directions_are_the_same_every_time_and_leave_the_generator_alone() -> None:
    torch.manual_seed(0)
    layer, inputs = nn.Linear(30, 20), torch.randn(100, 30)
    state = torch.get_rng_state()
    first = folding.directions(layer, inputs, 4).vectors
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert torch.equal(folding.directions(layer, inputs, 4).vectors, first)
