"""The page of a model: what it says follows from the model's file and its metrics, and its Python works."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from alexnet.cli import main
from alexnet.datasets import Images
from alexnet.errors import UserError
from alexnet.evaluation import evaluate, model_card
from alexnet.evaluation.evaluate import Request
from alexnet.evaluation.metrics import Metrics
from alexnet.evaluation.model_card import HARDEST
from alexnet.inference.classifier import Classifier
from alexnet.inference.decode import decode
from alexnet.paths import MODEL, ROOT

SHIPPED = ROOT / "models" / "alexnet"


@pytest.fixture
def folder(small_model: Path, data_root: Path, tmp_path: Path) -> Path:
    shutil.copy(small_model, tmp_path / "model.onnx")
    evaluate.evaluate(Request(tmp_path / "model.onnx", data_root, tmp_path))
    return tmp_path


def test_the_command_writes_page_and_plot(folder: Path, data_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["card", str(folder), "--data", str(data_root)]) == 0
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out.splitlines()[-1] == str(folder / "README.md")
    assert (folder / HARDEST).read_bytes().startswith(b"\x89PNG")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert f"{metrics['accuracy']:.4f}" in page
    assert metrics["model"]["sha256"] in page
    for image in re.findall(r"\]\((\w+\.png)\)", page):
        assert (folder / image).exists()
    # Such a file was not compressed and has no OOD score, and nothing else was measured of it.
    for absent in ("Out-of-distribution", "Compression", "Photos", "Corrupted images", "Parity", "Other test sets"):
        assert f"## {absent}" not in page
    assert page == model_card.render(folder)


def test_the_shipped_page_is_up_to_date() -> None:
    found = (SHIPPED / "README.md").read_text(encoding="utf-8")
    assert found == model_card.render(SHIPPED), "run: alexnet card"
    assert (SHIPPED / HARDEST).exists()
    sections = ("Intended use", "Calibration", "Out-of-distribution detection", "Photos", "Compression", "Limits")
    for section in (*sections, "Data and licences"):
        assert f"\n## {section}\n" in found


def test_the_page_is_whole_markdown() -> None:
    """No line of the template is left, no table is torn apart, no number is missing."""
    page = (SHIPPED / "README.md").read_text(encoding="utf-8")
    assert page.startswith("---\nlicense: apache-2.0\n")
    assert "\n\n\n" not in page
    for sign in ("{{", "{%", "| None", "nan to"):
        assert sign not in page
    for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        rows = table.splitlines()
        assert len(rows) >= 3, table
        assert len({row.count("|") for row in rows}) == 1, table


def test_the_python_of_the_page_classifies_as_the_library_does(tmp_path: Path, fixture_images: Images) -> None:
    (text,) = re.findall(r"```python\n(.*?)```", (SHIPPED / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "card.py").write_text(text)
    shutil.copy(SHIPPED / "model.onnx", tmp_path)
    large = Image.fromarray(fixture_images.pixels[65]).resize((700, 500), Image.Resampling.BICUBIC)
    large.save(tmp_path / "cat.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0")
    result = subprocess.run(
        [sys.executable, "card.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    classifier = Classifier(SHIPPED / "model.onnx")
    outputs = classifier.run(decode((tmp_path / "cat.jpg").read_bytes(), 32, 32)[None])
    lines = result.stdout.splitlines()
    expected = zip(classifier.classes, outputs.probabilities[0], strict=True)
    assert [line.split() for line in lines[:10]] == [[name, f"{value:.3f}"] for name, value in expected]
    assert outputs.is_ood is not None
    assert ("none of these" in result.stdout) == outputs.is_ood[0]


def test_all_that_is_measured_is_on_the_page(folder: Path) -> None:
    shipped = Metrics.read(SHIPPED, "")
    measured = Metrics.read(folder, "")
    assert shipped.photos is not None
    other = {"sha256": "c" * 64, "accuracy": shipped.photos.accuracy}
    labels = {**other, "source": "votes.npy", "changed": 5, "left_out": 7, "unchanged": shipped.photos.accuracy}
    update = {
        **{name: getattr(shipped, name).model_dump() for name in ("ood", "photos", "corruptions")},
        "cifar10_1": other,
        "label_errors": labels,
        "parity": {where: parity.model_dump() for where, parity in shipped.parity.items()},
    }
    Metrics.model_validate({**measured.model_dump(), **update}).write(folder)
    page = model_card.render(folder)
    for section in ("Out-of-distribution detection", "Photos", "Other test sets", "Corrupted images", "Parity"):
        assert f"\n## {section}\n" in page
    assert f"the accuracy is {shipped.photos.accuracy.value:.3f}" in page
    assert "votes.npy: 5 labels change, 7 images without a majority" in page
    assert "learnt from other outliers" in (MODEL.parent / "README.md").read_text(encoding="utf-8")
    assert "learnt from other outliers" not in page, "the fixture's run had none"


def test_metrics_of_another_model_are_refused(folder: Path) -> None:
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["model"]["sha256"] = "0" * 64
    (folder / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(UserError, match=r"another model.*alexnet evaluate"):
        model_card.render(folder)


@pytest.mark.parametrize("content", [None, "{"])
def test_missing_or_broken_metrics_are_refused(folder: Path, content: str | None) -> None:
    (folder / "metrics.json").unlink()
    if content is not None:
        (folder / "metrics.json").write_text(content)
    with pytest.raises(UserError, match=r"metrics\.json.*alexnet evaluate"):
        model_card.render(folder)


@pytest.mark.parametrize("name", ["jinja2", "matplotlib.figure"])
def test_what_it_needs_is_named(folder: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "alexnet.evaluation.plots", raising=False)
    monkeypatch.delattr("alexnet.evaluation.plots", raising=False)
    with pytest.raises(ImportError, match=name):
        model_card.card(folder, data_root)


def test_the_shipped_labels_are_those_of_the_file() -> None:
    config = json.loads((MODEL.parent / "config.json").read_text())
    assert list(config["id2label"].values()) == list(Classifier(MODEL).classes)
    assert config["image_size"] == 32


def test_the_configuration_of_a_run_is_kept(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"run": "first"}')
    model_card.write_config(tmp_path, Classifier(MODEL))
    assert json.loads((tmp_path / "config.json").read_text()) == {"run": "first"}
