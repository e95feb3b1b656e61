"""Numbers of a model: counted as others count them, the same for every batch size, and without torch."""

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from PIL import Image
from sklearn import metrics

from alexnet import environment, files
from alexnet.datasets import cifar10
from alexnet.datasets.cifar10 import Images
from alexnet.errors import UserError
from alexnet.evaluation import evaluate
from alexnet.evaluation.evaluate import Request
from alexnet.evaluation.intervals import wilson
from alexnet.inference.classifier import Classifier
from alexnet.paths import ROOT


@pytest.fixture(scope="module")
def measured(session_path: Path, small_model: Path, data_root: Path) -> Path:
    """The folder that `evaluate` wrote of the small model."""
    folder = session_path / "measured"
    evaluate.evaluate(Request(small_model, data_root, folder))
    return folder


def test_the_batch_size_changes_no_number(tmp_path: Path, measured: Path, small_model: Path, data_root: Path) -> None:
    for batch_size in (1, 32, 1000):
        evaluate.evaluate(Request(small_model, data_root, tmp_path, batch_size=batch_size))
        assert (tmp_path / "metrics.json").read_bytes() == (measured / "metrics.json").read_bytes()


def test_the_metrics_say_what_was_measured_on_what(
    measured: Path, small_model: Path, data_root: Path, fixture_images: Images
) -> None:
    report = json.loads((measured / "metrics.json").read_text())
    classifier = Classifier(small_model)
    predicted = classifier.run(fixture_images.pixels).probabilities.argmax(1)
    assert report["model"] == {
        "name": "alexnet-cifar10",
        "sha256": files.sha256(small_model),
        "bytes": small_model.stat().st_size,
        "run": "small",
    }
    assert (report["data"]["split"], report["data"]["images"]) == ("test", 200)
    test_file = data_root / cifar10.FOLDER / "test_batch.bin"
    assert report["data"]["sha256"] == {"test_batch.bin": files.sha256(test_file)}
    hits = int((predicted == fixture_images.labels).sum())
    assert report["accuracy"] == hits / 200
    assert report["accuracy_interval_95"] == list(wilson(hits, 200))
    assert report["macro_f1"] == pytest.approx(metrics.f1_score(fixture_images.labels, predicted, average="macro"))
    assert list(report["classes"]) == list(cifar10.CLASSES)
    assert {row["support"] for row in report["classes"].values()} == {20}
    assert report["classes"]["cat"]["accuracy"] == float((predicted[fixture_images.labels == 3] == 3).mean())
    assert report["confusion"] == metrics.confusion_matrix(fixture_images.labels, predicted).tolist()
    assert report["environment"]["cpu"] == environment.cpu_kind()
    assert any(name.startswith("onnxruntime") for name in report["environment"])


def test_the_numbers_are_printed_with_their_interval(
    tmp_path: Path, small_model: Path, data_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = evaluate.evaluate(Request(small_model, data_root, tmp_path))
    output = capsys.readouterr().out
    low, high = measured.accuracy_interval_95
    assert f"accuracy {measured.accuracy:.4f} (95 % interval {low:.4f} to {high:.4f})" in output
    for name in cifar10.CLASSES:
        assert name in output


def test_the_confusion_matrix_is_drawn(measured: Path) -> None:
    assert Image.open(measured / "confusion.png").size > (500, 500)


def test_a_model_is_measured_where_there_is_no_torch(
    tmp_path: Path, measured: Path, small_model: Path, data_root: Path
) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'matplotlib', 'onnx', 'safetensors', 'scipy', 'jinja2', 'httpx', 'pyarrow'):\n"
        "    sys.modules[name] = None\n"
        "import alexnet.datasets.cifar10, alexnet.evaluation.evaluate\n"
        "from alexnet.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    arguments = ["evaluate", str(small_model), "--data", str(data_root), "--output", str(tmp_path)]
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "metrics.json").read_bytes() == (measured / "metrics.json").read_bytes()
    assert not (tmp_path / "confusion.png").exists()
    assert "it needs matplotlib" in " ".join(result.stderr.split())


def test_a_model_of_other_classes_is_refused(tmp_path: Path, small_model: Path, data_root: Path) -> None:
    model = onnx.load(small_model)
    (classes,) = (item for item in model.metadata_props if item.key == "classes")
    classes.value = json.dumps([f"digit {i}" for i in range(10)])
    onnx.save(model, tmp_path / "digits.onnx")
    with pytest.raises(UserError, match=r"has the classes digit 0.*give its own data with --data"):
        evaluate.evaluate(Request(tmp_path / "digits.onnx", data_root, tmp_path / "measured"))
    assert not (tmp_path / "measured").exists()


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_below_1_is_refused(tmp_path: Path, data_root: Path, small_model: Path, batch_size: int) -> None:
    with pytest.raises(UserError, match=f"--batch-size is {batch_size}; give 1 or more"):
        evaluate.evaluate(Request(small_model, data_root, tmp_path / "measured", batch_size=batch_size))
    assert not (tmp_path / "measured").exists()
