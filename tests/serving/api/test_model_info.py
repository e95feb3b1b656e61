"""What /model says: the test accuracy of this very file or none, and validation by its own name."""

import json
from pathlib import Path
from typing import Any

import pytest

from alexnet.datasets.cifar10 import CLASSES
from alexnet.inference.classifier import Classifier
from alexnet.paths import MODEL
from serving.api import model_info, pages
from serving.settings import Settings
from tests.images import encode, photo
from tests.models import SIDE, write_model
from tests.serving.conftest import App

METADATA = {
    "name": "measured",
    "classes": '["cat", "dog", "hare"]',
    "run": "first",
    "checkpoint_sha256": "0123456789abcdef" * 4,
}
VALIDATION = {
    "epoch": 3, "training_loss": 0.1, "training_accuracy": 0.99, "validation_loss": 0.2, "validation_accuracy": 0.95,
    "seconds": 9.0, "learning_rate": 0.001,
}  # fmt: skip


def shipped_metrics() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((MODEL.parent / "metrics.json").read_text())
    return found


@pytest.fixture
def model(tmp_path: Path) -> Path:
    metadata = {**METADATA, "validation": json.dumps(VALIDATION), "temperature": "1.25"}
    return write_model(tmp_path / "model.onnx", classes=("cat", "dog", "hare"), metadata=metadata)


def describe(model: Path) -> Any:
    return model_info.describe(Classifier(model, threads=1), model).model_dump(mode="json")


def test_a_file_that_nobody_measured_has_no_test_accuracy_and_validation_has_its_own_name(model: Path) -> None:
    found = describe(model)
    assert found["test"] is None
    assert found["photos"] is None
    assert found["validation"] == {"accuracy": 0.95}
    assert found["version"] == "first-0123456789ab"
    assert found["classes"] == ["cat", "dog", "hare"]
    assert found["image_size"] == [SIDE, SIDE]
    assert (found["temperature"], found["unknown_threshold"]) == (1.25, None)
    assert found["runtime"] == {**found["runtime"], "provider": "CPUExecutionProvider", "threads": 1}


def test_the_test_accuracy_is_that_of_this_very_file(model: Path) -> None:
    measured = shipped_metrics()
    measured["model"]["sha256"] = Classifier(model, threads=1).sha256
    path = model.parent / "metrics.json"
    path.write_text(json.dumps(measured))
    found = describe(model)["test"]
    assert found["accuracy"] == measured["accuracy"]
    assert found["accuracy_interval_95"] == measured["accuracy_interval_95"]
    assert (found["dataset"], found["images"]) == ("CIFAR-10", 10_000)
    path.write_text(json.dumps({**measured, "model": {**measured["model"], "sha256": "0" * 64}}))
    assert describe(model)["test"] is None
    path.write_text("{")
    assert describe(model)["test"] is None


def test_metrics_of_the_validation_images_are_no_test(model: Path) -> None:
    measured = shipped_metrics()
    measured["model"]["sha256"] = Classifier(model, threads=1).sha256
    measured["data"]["split"] = "validation"
    (model.parent / "metrics.json").write_text(json.dumps(measured))
    assert describe(model)["test"] is None


def test_the_shipped_model_says_what_was_measured_of_it() -> None:
    assert describe(MODEL)["test"]["accuracy"] == shipped_metrics()["accuracy"]


def test_a_model_of_a_folder_says_so(tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "model.onnx", classes=("cat", "dog", "hare"), metadata={**METADATA, "image_folder_sha256": "0" * 64}
    )
    measured = shipped_metrics()
    measured["model"]["sha256"] = Classifier(path, threads=1).sha256
    (tmp_path / "metrics.json").write_text(json.dumps(measured))
    assert describe(path)["test"]["dataset"] == "image folder"


# --- samples


def test_the_shipped_samples_are_for_the_shipped_model_alone(tiny_model: Path) -> None:
    assert list(pages.find_samples(Settings(), CLASSES)) == list(CLASSES)
    assert pages.find_samples(Settings(model=tiny_model), CLASSES) == {}


def test_samples_of_a_folder_are_those_of_the_models_classes(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "samples"
    folder.mkdir()
    images = {
        "dog.png": encode(photo(seed=1)),
        "cat.JPG": encode(photo(seed=2), "JPEG"),
        "ship.png": b"",
        "notes.txt": b"",
    }
    for name, content in images.items():
        (folder / name).write_bytes(content)
    app = App(Classifier(model, threads=1), Settings(model=model, samples=folder), None)
    assert app.get("/model").json()["samples"] == ["cat", "dog"]
    found = app.get("/ui/samples/cat")
    assert (found.content, found.headers["content-type"]) == (images["cat.JPG"], "image/jpeg")
    assert app.get("/ui/samples/ship").status_code == 404
