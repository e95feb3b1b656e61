"""AlexNet with its linear layers on images of an image folder that are larger than 32 pixels."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from alexnet.cli import main
from alexnet.inference.classifier import Classifier
from tests.conftest import WIDTH
from tests.images import write_classes
from training import checkpoint, networks
from training.export.folding import FoldedAlexNet
from training.networks.alexnet import AlexNet, Variant

SIDE = 80


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of 80 x 60 pixels of two classes."""
    return write_classes(tmp_path_factory.mktemp("sizes") / "photos", (80, 60))


@pytest.fixture(scope="module")
def run(photos: Path, init_file: Path) -> Path:
    """A run of an AlexNet that resizes nothing."""
    output = photos.with_name("run")
    words = ["train", "--recipe", "published", "--image-size", str(SIDE), "--input-size", str(SIDE), "--epochs", "1"]
    words += ["--width", str(WIDTH), "--init", str(init_file), "--batch-size", "8", "--device", "cpu"]
    assert main([*words, "--data", str(photos), "--output", str(output)]) == 0
    return output


@pytest.mark.parametrize("input_size", [SIDE, 72, 4 * SIDE])
def test_folding_keeps_the_logits(input_size: int) -> None:
    torch.manual_seed(0)
    model = AlexNet(3, input_size, Variant(width=WIDTH, image_size=SIDE)).eval()
    pixels = torch.randint(0, 256, (2, SIDE, SIDE, 3), dtype=torch.uint8)
    folded = FoldedAlexNet(model).eval()
    with torch.inference_mode():
        assert torch.allclose(folded(pixels)[0], model(pixels), atol=1e-4)
    assert (folded.resize is None) == (input_size != 72), "at its own size, and where the stem sees the image itself"


def test_the_files_of_a_run_take_images_of_its_size(run: Path, photos: Path, tmp_path: Path) -> None:
    exported, small = tmp_path / "model.onnx", tmp_path / "small.onnx"
    assert main(["export", str(run), "--data", str(photos), "--output", str(exported)]) == 0
    words = ["compress", str(run), "--data", str(photos), "--max-drop", "100", "--rank", "8", "--latency"]
    assert main([*words, "--output", str(small)]) == 0
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
    for path in (exported, small):
        assert Classifier.load(path).image_shape == (SIDE, SIDE, 3)
    saved = checkpoint.load(run)
    network = networks.build(saved.settings, 2).eval()
    network.load_state_dict(saved.weights)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(pixels)).softmax(1).numpy()
    assert np.allclose(Classifier.load(exported).run(pixels).probabilities, wanted, atol=1e-4)
    assert "Resize" not in {node.op_type for node in onnx.load(exported).graph.node}
    assert main(["evaluate", str(small), "--data", str(photos), "--output", str(tmp_path)]) == 0
