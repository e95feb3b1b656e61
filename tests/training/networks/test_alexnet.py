"""The network: what it makes of pixels, and where its first weights come from."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import load_file, save_file

from alexnet.datasets import Images
from alexnet.errors import UserError
from tests.conftest import WIDTH
from training.networks import initial_weights
from training.networks.alexnet import IMAGENET_MEAN, IMAGENET_STD, AlexNet, Preprocess, Variant


@pytest.fixture(scope="module")
def model() -> AlexNet:
    torch.manual_seed(0)
    return AlexNet(10, 63, Variant(width=WIDTH)).eval()


@pytest.fixture
def tensors(init_file: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(init_file))


def test_pixels_become_what_torchvision_trained_with(fixture_images: Images) -> None:
    pixels = torch.from_numpy(fixture_images.pixels[:5])
    wanted = F.interpolate(pixels.permute(0, 3, 1, 2) / 255, size=(224, 224), mode="bilinear", align_corners=False)
    wanted = (wanted - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(3, 1, 1)
    torch.testing.assert_close(Preprocess(224)(pixels), wanted, atol=1e-5, rtol=0)


def test_layers_and_initial_weights_are_those_of_torchvision() -> None:
    torch.manual_seed(3)
    ours = AlexNet(10, 63).network
    torch.manual_seed(3)
    theirs = torchvision.models.alexnet(num_classes=10)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(value, ours.state_dict()[name]) for name, value in theirs.state_dict().items())
    image = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        assert torch.equal(ours.eval()(image), theirs.eval()(image))


def test_mean_and_std_are_part_of_a_checkpoint(model: AlexNet) -> None:
    assert {"preprocess.mean", "preprocess.std"} <= model.state_dict().keys()


def test_pixels_become_one_row_of_float32_logits_each(model: AlexNet, fixture_images: Images) -> None:
    with torch.inference_mode():
        logits = model(torch.from_numpy(fixture_images.pixels[:3]))
    assert logits.shape == (3, 10)
    assert logits.dtype == torch.float32


def test_the_smallest_input_size_is_the_smallest_that_the_network_takes(fixture_images: Images) -> None:
    features = AlexNet(10, 62, Variant(width=WIDTH)).network.features
    with pytest.raises(RuntimeError, match="too small"):
        features(Preprocess(62)(torch.from_numpy(fixture_images.pixels[:1])))


def test_an_init_file_fills_the_convolution_layers_alone(init_file: Path, tensors: dict[str, torch.Tensor]) -> None:
    torch.manual_seed(1)
    fresh = AlexNet(10, 63, Variant(width=WIDTH)).network.state_dict()
    torch.manual_seed(1)
    model = AlexNet(10, 63, Variant(width=WIDTH))
    initial_weights.load(model, str(init_file))
    loaded = model.network.state_dict()
    for name, value in loaded.items():
        assert torch.equal(value, tensors[name] if name.startswith("features.") else fresh[name]), name


def test_no_init_leaves_the_weights_as_they_are(model: AlexNet) -> None:
    before = model.network.features[0].weight.clone()
    initial_weights.load(model, "none")
    assert torch.equal(model.network.features[0].weight, before)


def test_an_init_file_without_a_tensor_is_refused_by_its_name(
    model: AlexNet, tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    del tensors["features.6.bias"]
    assert "features.6.bias is missing" in _refusal(model, tensors, tmp_path)


def test_an_init_file_with_a_tensor_of_another_shape_is_refused_by_its_name(
    model: AlexNet, tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    tensors["features.0.weight"] = torch.zeros(96, 3, 11, 11)
    assert "features.0.weight of shape (96, 3, 11, 11)" in _refusal(model, tensors, tmp_path)


def test_an_init_file_with_an_unknown_tensor_is_refused_by_its_name(
    model: AlexNet, tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    tensors["layer1.weight"] = torch.zeros(3)
    assert "layer1.weight of shape (3,)" in _refusal(model, tensors, tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("absent.safetensors", None, "no such file"),
        ("damaged.safetensors", b"\xff" * 100, "not a readable safetensors file"),
        ("cut.safetensors", b"", "not a readable safetensors file"),
        ("weights.bin", b"", "give imagenet, none, or a file that ends in .safetensors or .pt"),
    ],
)
def test_an_unreadable_init_file_is_refused_in_one_line(
    model: AlexNet, tmp_path: Path, name: str, content: bytes | None, complaint: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        initial_weights.load(model, str(path))
    assert str(caught.value).startswith(f"--init {path}: ")
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("offline")
def test_imagenet_weights_without_network_name_the_other_ways(
    model: AlexNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError) as caught:
        initial_weights.load(model, "imagenet")
    assert "give a .safetensors file, or --init none" in str(caught.value)
    assert "\n" not in str(caught.value)


def _refusal(model: AlexNet, tensors: dict[str, torch.Tensor], folder: Path) -> str:
    path = folder / "init.safetensors"
    save_file(tensors, path)
    before = model.network.features[0].weight.clone()
    with pytest.raises(UserError) as caught:
        initial_weights.load(model, str(path))
    assert torch.equal(model.network.features[0].weight, before)
    return str(caught.value)
