"""The CIFAR-10-C protocol: counted, averaged, printed and kept, on generated and on published images."""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from alexnet.cli import main
from alexnet.datasets import Images
from alexnet.datasets import corruptions as kinds
from alexnet.errors import UserError
from alexnet.evaluation import corruptions
from alexnet.evaluation.corruptions import Protocol
from alexnet.evaluation.intervals import wilson
from alexnet.evaluation.metrics import Metrics
from alexnet.inference.classifier import Outputs
from tests.models import write_model

QUICK, FULL = Protocol("quick"), Protocol("full")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick protocol on 10 images."""
    monkeypatch.setattr(corruptions, "QUICK_IMAGES", 10)


def constant(pixels: npt.NDArray[np.uint8], kind: str, severity: int) -> npt.NDArray[np.uint8]:
    """In place of a corruption: images that name what was done to them."""
    return np.full_like(pixels, severity if kind == "fog" else 9)


def predict(pixels: npt.NDArray[np.uint8], images: Images) -> Outputs:
    """Right about all images as they are, about half of those under fog of severity 3, and about nothing else."""
    correct = {3: len(pixels) // 2}.get(int(pixels.max()), 0) if pixels.max() == pixels.min() else len(pixels)
    chosen = np.where(np.arange(len(pixels)) < correct, images.labels, (images.labels + 1) % 10)
    return Outputs(np.eye(10, dtype=np.float32)[chosen])


def test_the_subset_is_stratified_and_always_the_same() -> None:
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    images = Images(np.arange(1000).astype(np.uint8)[:, None, None, None].repeat(3, 3), labels)
    drawn = corruptions.draw(images, 50)
    assert np.bincount(drawn.labels).tolist() == [30, 15, 5]
    assert np.array_equal(drawn.pixels, corruptions.draw(images, 50).pixels)
    whole = corruptions.draw(images, 5000)
    assert np.array_equal(whole.pixels, images.pixels)
    assert np.array_equal(whole.labels, labels)


def test_the_quick_protocol_has_three_severities_of_a_subset(
    fixture_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "corrupt", constant)
    monkeypatch.setattr(corruptions, "QUICK_IMAGES", 40)
    drawn = corruptions.draw(fixture_images, 40)
    found = corruptions.measure(partial(predict, images=drawn), fixture_images, QUICK)
    assert tuple(found.kinds) == kinds.NAMES
    assert (found.kinds["fog"][3].value, found.kinds["fog"][3].interval_95) == (0.5, wilson(20, 40))
    assert found.kinds["snow"][3].value == 0
    assert (found.images, found.clean.value, found.seed) == (40, 1, kinds.SEED)
    assert found.mean_by_severity == pytest.approx({1: 0, 3: 0.5 / 15, 5: 0})
    assert found.mean == pytest.approx(0.5 / 45)


def test_the_full_protocol_has_five_severities_of_all_images(
    fixture_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "corrupt", constant)
    found = corruptions.measure(partial(predict, images=fixture_images), fixture_images, FULL)
    assert found.images == 200
    assert list(found.kinds["fog"]) == [1, 2, 3, 4, 5]
    assert found.mean == pytest.approx(0.5 / 75)


def test_published_images_are_read(tmp_path: Path, fixture_images: Images) -> None:
    for kind in kinds.NAMES:
        severities = [constant(fixture_images.pixels, kind, severity) for severity in range(1, 6)]
        np.save(tmp_path / f"{kind}.npy", np.concatenate(severities))
    np.save(tmp_path / "labels.npy", np.tile(fixture_images.labels, 5))
    found = corruptions.measure(partial(predict, images=fixture_images), fixture_images, Protocol.of(str(tmp_path)))
    assert {severity: cell.value for severity, cell in found.kinds["fog"].items()} == {1: 0, 2: 0, 3: 0.5, 4: 0, 5: 0}
    assert (found.source, found.seed) == ("CIFAR-10-C as published", None)


def test_published_images_of_other_labels_are_refused(tmp_path: Path, fixture_images: Images) -> None:
    np.save(tmp_path / "labels.npy", np.zeros(1000, np.int64))
    with pytest.raises(UserError, match="has not the labels of the test images"):
        corruptions.measure(partial(predict, images=fixture_images), fixture_images, Protocol.of(str(tmp_path)))


@pytest.mark.parametrize(("given", "kind"), [("quick", "quick"), ("full", "full"), ("some/folder", "published")])
def test_the_flag_names_a_protocol_or_a_folder(given: str, kind: str) -> None:
    assert Protocol.of(given).kind == kind


@pytest.mark.usefixtures("few")
def test_the_command_measures_them_prints_them_and_keeps_them(
    tmp_path: Path, data_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "model.onnx")
    words = ["evaluate", str(model), "--data", str(data_root)]
    assert main([*words, "--corruptions", "quick"]) == 0
    found = Metrics.read(tmp_path, "").corruptions
    assert found is not None
    assert (found.images, len(found.kinds)) == (10, 15)
    output = capsys.readouterr().out
    assert all(name.replace("_", " ") in output for name in kinds.NAMES)
    assert f"mean accuracy under corruption {found.mean:.4f}" in output
    assert main(words) == 0
    assert Metrics.read(tmp_path, "").corruptions == found


def test_without_scipy_it_is_one_line(
    tmp_path: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    model = write_model(tmp_path / "model.onnx")
    assert main(["evaluate", str(model), "--data", str(data_root), "--corruptions", "quick"]) == 1
    error = capsys.readouterr().err
    assert "pip install 'alexnet-cifar10[evaluate]'" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "metrics.json").exists()
