"""The page of a model: what it says follows from the model's file and its metrics."""

import json
import re
import shutil
from pathlib import Path

import pytest

from alexnet.cli import main
from alexnet.errors import UserError
from alexnet.evaluation import card_page, evaluate, model_card
from alexnet.paths import ROOT

SHIPPED = ROOT / "models" / "alexnet"


@pytest.fixture
def folder(small_model: Path, data_root: Path, tmp_path: Path) -> Path:
    shutil.copy(small_model, tmp_path / "model.onnx")
    evaluate.evaluate(tmp_path / "model.onnx", data_root, tmp_path)
    return tmp_path


def test_the_command_writes_page_and_picture(folder: Path, data_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["card", str(folder), "--data", str(data_root)]) == 0
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out.splitlines()[-1] == str(folder / "README.md")
    assert (folder / "hardest.png").read_bytes().startswith(b"\x89PNG")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert f"{metrics['accuracy']:.4f}" in page
    assert metrics["model"]["sha256"] in page
    for picture in re.findall(r"\]\((\w+\.png)\)", page):
        assert (folder / picture).exists()
    # Such a file has neither been compressed nor been taught what is unknown, and these are no known test images.
    for absent in ("## Unknown things", "## From the run to the file", "decoded from JPEG"):
        assert absent not in page
    assert page == model_card.render(folder)


def test_the_shipped_page_is_up_to_date() -> None:
    found = (SHIPPED / "README.md").read_text(encoding="utf-8")
    assert found == model_card.render(SHIPPED), "run: alexnet card"
    assert (SHIPPED / card_page.HARDEST).exists()
    for section in ("Intended use", "Calibration", "Unknown things", "From the run to the file", "Data", "Limits"):
        assert f"\n## {section}\n" in found


def test_the_approximate_images_are_named_where_they_were_measured() -> None:
    (sha256,) = json.loads((SHIPPED / "metrics.json").read_text())["data"]["sha256"].values()
    numbers = card_page._APPROXIMATE[sha256]
    assert len(set(numbers)) == 21
    (listed,) = re.findall(r"numbers ([\d, and]+), counted from 0", (SHIPPED / "README.md").read_text())
    assert [int(number) for number in re.findall(r"\d+", listed)] == sorted(numbers)


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
