"""Photos in folders of their classes and in none/: counted as by hand, with the decoder of the service."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.cli import main
from alexnet.datasets.cifar10 import CLASSES, Images
from alexnet.errors import UserError
from alexnet.evaluation import calibration, ood, photos
from alexnet.evaluation.metrics import Metrics
from alexnet.inference import batches
from alexnet.inference.classifier import Classifier
from alexnet.inference.decode import decode
from tests.models import write_model


@pytest.fixture
def folder(tmp_path: Path, fixture_images: Images) -> Path:
    """Ten photos of cats, four of ships, three of nothing; all 64 pixels wide and 48 high."""
    chosen = {"ship": [80, 81, 82, 83], "cat": range(10), "none": [100, 101, 102]}
    for name, numbers in chosen.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in numbers:
            image = Image.fromarray(fixture_images.pixels[number]).resize((64, 48))
            image.save(tmp_path / "photos" / name / f"{number:03}.png")
    return tmp_path / "photos"


@pytest.fixture
def classifier(tmp_path: Path) -> Classifier:
    return Classifier(write_model(tmp_path / "model.onnx", detects_ood=True))


def pixels(folder: Path) -> np.ndarray:
    return np.stack([decode(path.read_bytes(), 32, 32) for path in sorted(folder.iterdir())])


def test_they_are_counted_as_by_hand(folder: Path, classifier: Classifier) -> None:
    found = photos.measure(classifier, partial(batches.predict, classifier, batch_size=4), folder)
    cats, ships, none = (classifier.run(pixels(folder / name)) for name in ("cat", "ship", "none"))
    correct = [
        cats.probabilities.argmax(1) == CLASSES.index("cat"),
        ships.probabilities.argmax(1) == CLASSES.index("ship"),
    ]
    assert list(found.classes) == ["cat", "ship"]  # in the order of the labels
    assert (found.accuracy.images, found.accuracy.value) == (14, np.concatenate(correct).mean())
    assert found.mean_class_accuracy == pytest.approx(np.mean([part.mean() for part in correct]))
    assert [row.value for row in found.classes.values()] == [part.mean() for part in correct]
    probabilities = np.concatenate([cats.probabilities, ships.probabilities])
    labels = np.repeat([3, 8], [10, 4])
    assert found.calibration == calibration.measure(probabilities, labels)
    assert found.refused is not None
    assert cats.ood_score is not None
    assert ships.ood_score is not None
    assert none.ood_score is not None
    scores = np.concatenate([cats.ood_score, ships.ood_score])
    assert found.refused.value == (scores > 0.9).mean()
    assert found.ood is not None
    assert found.ood.images == 3
    assert found.ood.auroc == pytest.approx(ood.auroc(scores, none.ood_score), abs=1e-6)
    assert found.name == "photos"


def test_without_none_or_without_a_score_there_is_no_detection(
    tmp_path: Path, folder: Path, classifier: Classifier
) -> None:
    plain = Classifier(write_model(tmp_path / "plain.onnx"))
    assert photos.measure(plain, partial(batches.predict, plain, batch_size=4), folder).ood is None
    for path in (folder / "none").iterdir():
        path.unlink()
    (folder / "none").rmdir()
    found = photos.measure(classifier, partial(batches.predict, classifier, batch_size=4), folder)
    assert found.ood is None
    assert found.refused is not None


def test_a_folder_that_is_no_class_is_refused(folder: Path, classifier: Classifier) -> None:
    (folder / "kitten").mkdir()
    with pytest.raises(UserError, match="has kitten/, not a class of the model; rename it, or move it into none/"):
        photos.measure(classifier, partial(batches.predict, classifier, batch_size=4), folder)


def test_a_folder_without_classes_is_refused(tmp_path: Path, classifier: Classifier) -> None:
    (tmp_path / "none").mkdir()
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="has no folder with the name of a class"):
        photos.measure(classifier, partial(batches.predict, classifier, batch_size=4), empty)
    with pytest.raises(UserError, match="no such folder"):
        photos.measure(classifier, partial(batches.predict, classifier, batch_size=4), tmp_path / "absent")


def test_the_command_prints_and_writes_them(
    tmp_path: Path, folder: Path, classifier: Classifier, data_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(tmp_path / "model.onnx"), "--data", str(data_root), "--photos", str(folder)]) == 0
    found = Metrics.read(tmp_path, "").photos
    assert found is not None
    assert found.ood is not None
    output = capsys.readouterr().out
    assert f"photos photos: accuracy {found.accuracy.value:.4f}" in output
    assert f"AUROC {found.ood.auroc:.4f}" in output
