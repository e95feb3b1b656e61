"""Torch's answers beside those of the exported file, and checkpoints that cannot be compared."""

import sys
from pathlib import Path

import pytest

from alexnet.cli import main
from alexnet.datasets import Images
from alexnet.errors import UserError
from alexnet.evaluation.metrics import Metrics
from alexnet.inference.classifier import Classifier
from tests.models import write_model
from training.export import torch_parity


def test_torch_answers_as_the_file_that_was_exported(
    tmp_path: Path, small_model: Path, small_run: Path, data_root: Path
) -> None:
    words = ["evaluate", str(small_model), "--data", str(data_root), "--output", str(tmp_path)]
    assert main([*words, "--checkpoint", str(small_run)]) == 0
    found = Metrics.read(tmp_path, "").parity["torch"]
    assert (found.images, found.different_classes) == (200, 0)
    assert found.largest_difference < 1e-4


def test_another_checkpoint_is_refused(small_model: Path, small_run: Path, fixture_images: Images) -> None:
    with pytest.raises(UserError, match="the model was not exported from"):
        torch_parity.ask_torch(small_run / "last.pt", Classifier(small_model), fixture_images.pixels, 64)


def test_a_checkpoint_needs_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "model.onnx")
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "training.export.torch_parity")
    monkeypatch.delattr("training.export.torch_parity")
    assert main(["evaluate", str(model), "--checkpoint", "best.pt"]) == 1
    assert "this needs torch: pip install 'alexnet-cifar10[train]'" in capsys.readouterr().err
