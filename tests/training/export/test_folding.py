"""AlexNet with fewer operations: the same logits."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from alexnet.datasets import Images
from tests.conftest import WIDTH
from training.export import folding
from training.export.folding import FoldedAlexNet
from training.networks.alexnet import AlexNet, Variant


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


@pytest.mark.parametrize(
    ("size", "variant"),
    [
        (63, Variant(width=WIDTH)),
        (160, Variant(width=WIDTH)),
        (160, Variant(width=WIDTH, fused_stem=True)),
        (224, Variant(width=WIDTH, fused_stem=True, batch_norm=True)),
    ],
)
def test_the_folded_network_answers_as_alexnet_does(size: int, variant: Variant, fixture_images: Images) -> None:
    torch.manual_seed(0)
    model = AlexNet(10, size, variant).eval()
    pixels = torch.from_numpy(fixture_images.pixels[:4])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.inference_mode():
        logits, embedding = FoldedAlexNet(model).eval()(pixels)
        torch.testing.assert_close(logits, model(pixels), atol=1e-5, rtol=0)
        features = model.network.features(model.preprocess(pixels))
        torch.testing.assert_close(embedding, features.mean((2, 3)), atol=1e-5, rtol=0)
    assert embedding.shape == (4, round(256 * WIDTH))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_batch_normalisation_is_part_of_the_convolution_before_it() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 6, 5, padding=2, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(6, 4, 3, padding=1),
        nn.BatchNorm2d(4),
    )
    for _ in range(3):
        layers(3 + 2 * torch.randn(8, 3, 16, 16))  # running statistics that are not those of the first moment
    for norm in (layers[1], layers[5]):
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.normal_(norm.bias)
    images = 3 + 2 * torch.randn(4, 3, 16, 16)
    expected = layers.eval()(images)
    folded = folding.fold_batch_norm(layers)
    assert [type(layer) for layer in folded] == [nn.Conv2d, nn.ReLU, nn.MaxPool2d, nn.Conv2d]
    torch.testing.assert_close(folded(images), expected, atol=1e-5, rtol=0)


def test_a_network_whose_first_convolution_sees_the_image_has_no_resize(fixture_images: Images) -> None:
    torch.manual_seed(0)
    model = AlexNet(10, 63, Variant(width=WIDTH)).eval()
    model.preprocess.input_size = 32
    model.network.features[0] = nn.Conv2d(3, model.network.features[0].out_channels, 4, padding=1)
    pixels = torch.from_numpy(fixture_images.pixels[:4])
    folded = FoldedAlexNet(model).eval()
    assert folded.resize is None
    with torch.inference_mode():
        torch.testing.assert_close(folded(pixels)[0], model(pixels), atol=1e-5, rtol=0)
