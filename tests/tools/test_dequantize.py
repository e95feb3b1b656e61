"""Weights from an int8 file compute what the file computes."""

from pathlib import Path

import pytest
import torch

from alexnet.datasets import Images
from alexnet.inference.classifier import Classifier
from alexnet.paths import MODEL
from tests.models import write_model
from tools import dequantize
from training.networks import initial_weights
from training.networks.alexnet import AlexNet


def test_a_network_with_the_weights_gives_the_same_classes(tmp_path: Path, fixture_images: Images) -> None:
    path = tmp_path / "weights.safetensors"
    assert dequantize.main([str(MODEL), str(path)]) == 0
    classifier = Classifier(MODEL)
    assert classifier.metadata.input_size is not None
    model = AlexNet(10, classifier.metadata.input_size).eval()
    initial_weights.load(model, str(path))
    with torch.inference_mode():
        found = model(torch.from_numpy(fixture_images.pixels)).argmax(1).numpy()
    expected = classifier.run(fixture_images.pixels).probabilities.argmax(1)
    assert (found == expected).mean() > 0.97  # activations of 8 bits decide the closest ones


def test_the_released_float_files_are_of_the_shipped_model(fixture_images: Images) -> None:
    classifier = Classifier(MODEL)
    expected = classifier.run(fixture_images.pixels).probabilities.argmax(1)
    half = Classifier(MODEL.with_name("model-fp16.onnx"))
    assert half.metadata.checkpoint_sha256 == classifier.metadata.checkpoint_sha256
    assert (half.run(fixture_images.pixels).probabilities.argmax(1) == expected).mean() > 0.97
    assert classifier.metadata.input_size is not None
    model = AlexNet(10, classifier.metadata.input_size).eval()
    initial_weights.load(model, str(MODEL.with_name("model.safetensors")))
    with torch.inference_mode():
        found = model(torch.from_numpy(fixture_images.pixels)).argmax(1).numpy()
    assert (found == expected).mean() > 0.97


def test_another_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write_model(tmp_path / "other.onnx")
    assert dequantize.main([str(other), str(tmp_path / "out.safetensors")]) == 1
    assert capsys.readouterr().err.startswith(f"{other}: not an int8 file")
    assert not (tmp_path / "out.safetensors").exists()
    assert dequantize.main([]) == 2
