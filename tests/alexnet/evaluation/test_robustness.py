"""How often a model is right about corrupted images: counted, averaged, printed and kept."""

import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from alexnet.cli import main
from alexnet.datasets import Images
from alexnet.errors import UserError
from alexnet.evaluation import corruptions, robustness
from alexnet.evaluation.intervals import wilson
from alexnet.inference.classifier import Outputs
from tests.models import write_model


def test_each_class_is_drawn_by_its_share() -> None:
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    images = Images(np.arange(1000).astype(np.uint8)[:, None, None, None].repeat(3, 3), labels)
    drawn = robustness.draw(images, 50)
    assert np.bincount(drawn.labels).tolist() == [30, 15, 5]
    assert np.array_equal(drawn.pixels, robustness.draw(images, 50).pixels)
    whole = robustness.draw(images, 5000)
    assert np.array_equal(whole.pixels, images.pixels)
    assert np.array_equal(whole.labels, labels)


def test_the_accuracies_and_their_means_are_counted(
    fixture_images: Images, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def corrupt(pixels: npt.NDArray[np.uint8], name: str, severity: int) -> npt.NDArray[np.uint8]:
        return np.full_like(pixels, severity if name == "fog" else 9)

    def ask(pixels: npt.NDArray[np.uint8]) -> Outputs:
        """Right about all that is not corrupted, about half of severity 3 of fog, and about nothing else."""
        asked = len(pixels)
        drawn = robustness.draw(fixture_images, 40)
        right = {3: asked // 2, 1: 0, 5: 0, 9: 0}.get(int(pixels.max()) if pixels.max() == pixels.min() else -1, asked)
        chosen = np.where(np.arange(asked) < right, drawn.labels, (drawn.labels + 1) % 10)
        return Outputs(np.eye(10, dtype=np.float32)[chosen])

    monkeypatch.setattr(corruptions, "corrupt", corrupt)
    found = robustness.measure(ask, fixture_images, 40)
    assert tuple(found["kinds"]) == corruptions.NAMES
    assert found["kinds"]["fog"]["3"] == {"accuracy": 0.5, "accuracy_interval_95": list(wilson(20, 40))}
    assert found["kinds"]["snow"]["3"]["accuracy"] == 0
    assert (found["images"], found["without"]["accuracy"]) == (40, 1)
    assert found["mean_of_severity"] == pytest.approx({"1": 0, "3": 0.5 / 15, "5": 0})
    assert found["mean"] == pytest.approx(0.5 / 45)
    robustness.show(found)
    output = capsys.readouterr().out
    assert all(name.replace("_", " ") in output for name in corruptions.NAMES)
    assert "mean accuracy under corruption 0.0111; of the same images without 1.0000" in output


def test_the_command_measures_them_and_keeps_what_it_found(tmp_path: Path, data_root: Path) -> None:
    model = write_model(tmp_path / "model.onnx")
    words = ["evaluate", str(model), "--data", str(data_root)]
    assert main([*words, "--corruptions", "--corruption-images", "10"]) == 0
    found = json.loads((tmp_path / "metrics.json").read_text())["corruptions"]
    assert (found["images"], len(found["kinds"])) == (10, 15)
    assert main(words) == 0
    assert json.loads((tmp_path / "metrics.json").read_text())["corruptions"] == found


def test_no_images_are_refused() -> None:
    with pytest.raises(UserError, match="--corruption-images is 0; give 1 or more"):
        robustness.check(0)


def test_without_scipy_it_is_one_line(
    tmp_path: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    model = write_model(tmp_path / "model.onnx")
    assert main(["evaluate", str(model), "--data", str(data_root), "--corruptions"]) == 1
    error = capsys.readouterr().err
    assert "pip install 'alexnet-cifar10[corruptions]'" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "metrics.json").exists()
