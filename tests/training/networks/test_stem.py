"""The stem that sees the image itself, batch normalisation, and the initial weights of both."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from alexnet.datasets import Images
from alexnet.errors import UserError
from tests.conftest import WIDTH
from training.networks import batch_norm, initial_weights, stem
from training.networks.alexnet import AlexNet, Preprocess, Variant
from training.networks.stem import PolyphaseStem


@pytest.fixture
def pixels(fixture_images: Images) -> torch.Tensor:
    return torch.from_numpy(fixture_images.pixels[:16])


def test_one_small_convolution_is_upsampling_and_the_large_one(pixels: torch.Tensor) -> None:
    weight = torch.randn(8, 3, 11, 11, generator=torch.Generator().manual_seed(0)) / 20
    image = Preprocess(32)(pixels)
    upsampled = F.interpolate(image, scale_factor=4, mode="bilinear", align_corners=False)
    wanted = F.conv2d(upsampled, weight, stride=4, padding=2)
    found = F.conv2d(image, stem.fuse(weight, 4), padding=1)
    assert found.shape == wanted.shape
    difference = (found - wanted).abs()
    assert difference[:, :, 1:-1, 1:-1].max() < 3e-5
    assert difference.max() > 0.01, "at the edge they differ"


def _stem(scale: int) -> PolyphaseStem:
    torch.manual_seed(0)
    found = PolyphaseStem(8, scale)
    found.weight.data.normal_(std=0.05)
    return found


@pytest.mark.parametrize(("side", "scale"), [(32, 3), (32, 5), (32, 6), (32, 7), (36, 5), (32, 8)])
def test_the_stem_of_any_scale_computes_what_the_large_convolution_does(side: int, scale: int) -> None:
    polyphase = _stem(scale)
    image = torch.randn(2, 3, side, side)
    padded = F.pad(image, (2, 2, 2, 2))
    enlarged = F.interpolate(padded, scale_factor=scale, mode="bilinear", align_corners=False)
    first = 2 * scale - 2  # the padding of the large convolution
    wanted = F.conv2d(enlarged[:, :, first:, first:], polyphase.weight, polyphase.bias, stride=4)
    found = polyphase(F.pad(image, stem.padding(scale) * 2))
    outputs = scale * side // 4
    assert found.shape == (2, 8, outputs, outputs)
    torch.testing.assert_close(found, wanted[:, :, :outputs, :outputs], atol=3e-5, rtol=0)


def test_a_fused_stem_changes_the_edge_alone(init_file: Path, pixels: torch.Tensor) -> None:
    plain, fused = (AlexNet(10, 160, Variant(width=WIDTH, fused_stem=fused)).eval() for fused in (False, True))
    for model in (plain, fused):
        initial_weights.load(model, str(init_file))
    wanted, found = (model.network.features[0](model.preprocess(pixels)) for model in (plain, fused))
    assert wanted.shape[-2:] == (39, 39)
    assert found.shape[-2:] == (40, 40)
    torch.testing.assert_close(found[:, :, 1:38, 1:38], wanted[:, :, 1:38, 1:38], atol=1e-4, rtol=0)
    assert [len(model.network.features(model.preprocess(pixels))[0, 0]) for model in (plain, fused)] == [4, 4]


@pytest.mark.parametrize("scale", [5, 7])
def test_a_folded_stem_computes_the_same(scale: int) -> None:
    whole, offset = _stem(scale), torch.tensor([10.0, 2.0, -11.0])
    folded = stem.FoldedStem(whole, offset)
    image = torch.randn(2, 3, 32, 32)
    padded = F.pad(image, stem.padding(scale) * 2)
    found = stem.interleave(folded(image), stem.phases(scale))
    torch.testing.assert_close(found, whole(padded - offset[:, None, None]), atol=1e-4, rtol=0)


def test_a_larger_kernel_starts_as_the_small_one(init_file: Path, pixels: torch.Tensor) -> None:
    features = []
    for kernel in (4, 6):
        model = AlexNet(10, 128, Variant(width=WIDTH, stem_kernel=kernel)).eval()
        initial_weights.load(model, str(init_file))
        features.append(model.network.features(model.preprocess(pixels)))
    assert torch.allclose(*features, atol=1e-5)


def test_pretrained_features_start_unchanged_with_batch_normalisation(init_file: Path, pixels: torch.Tensor) -> None:
    plain, normalised = (AlexNet(10, 128, Variant(width=WIDTH, batch_norm=norm)) for norm in (False, True))
    for model in (plain, normalised):
        initial_weights.load(model, str(init_file))
    batch_norm.calibrate(normalised, pixels)
    wanted = plain.network.features(plain.preprocess(pixels))
    image = normalised.preprocess(pixels)
    assert torch.allclose(normalised.eval().network.features(image), wanted, atol=1e-4)
    assert torch.allclose(normalised.train().network.features(image), wanted, atol=1e-4), (
        "of these images, trained or not"
    )
    # In training mode too, since these are the images that it was calibrated with.
    norms = [layer for layer in normalised.network.features if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 5


@pytest.mark.parametrize("half", [False, True])
def test_a_release_is_a_start_also_for_other_classes(
    tmp_path: Path, init_file: Path, pixels: torch.Tensor, half: bool
) -> None:
    model = AlexNet(10, 128, Variant(width=WIDTH)).eval()
    initial_weights.load(model, str(init_file))
    tensors = {name: value.contiguous() for name, value in model.network.state_dict().items()}
    save_file({name: value.half() if half else value for name, value in tensors.items()}, tmp_path / "m.safetensors")
    again, other = AlexNet(10, 128, Variant(width=WIDTH)).eval(), AlexNet(3, 128, Variant(width=WIDTH)).eval()
    for started in (again, other):
        initial_weights.load(started, str(tmp_path / "m.safetensors"))
    assert torch.allclose(again(pixels), model(pixels), atol=1e-2 if half else 0)
    hidden = [started.network.classifier[:6](torch.ones(1, 288)) for started in (other, model)]
    assert torch.allclose(*hidden, atol=1e-2 if half else 0)
    assert other(pixels).shape == (16, 3)


def test_weights_for_larger_maps_are_folded_into_those_for_smaller_ones(tmp_path: Path, init_file: Path) -> None:
    """Of torchvision's full network: its first linear layer sees each value of a 3x3 map four times."""
    large, small = AlexNet(10, 127, Variant(width=WIDTH)).eval(), AlexNet(10, 128, Variant(width=WIDTH)).eval()
    tensors = {name: value.contiguous() for name, value in large.network.state_dict().items()}
    save_file(tensors | load_file(init_file), tmp_path / "full.safetensors")
    initial_weights.load(small, str(tmp_path / "full.safetensors"))
    maps = torch.rand(2, 32, 3, 3)
    wanted = large.network.classifier(large.network.avgpool(maps).flatten(1))
    assert torch.allclose(small.network.classifier(small.network.avgpool(maps).flatten(1)), wanted, atol=1e-5)


def test_a_stem_on_images_does_not_fit_upsampled_ones(tmp_path: Path) -> None:
    tensors = {
        name: value.contiguous() for name, value in AlexNet(10, 128, Variant(width=WIDTH)).network.state_dict().items()
    }
    save_file(tensors, tmp_path / "small.safetensors")
    with pytest.raises(UserError, match="is no tensor of this AlexNet"):
        initial_weights.load(AlexNet(10, 224, Variant(width=WIDTH)), str(tmp_path / "small.safetensors"))
