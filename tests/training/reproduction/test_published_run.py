"""The published run as it was reproduced here: what is committed of it is whole, and the report says what it says."""

import csv
import json
from pathlib import Path

import pytest

from alexnet.paths import ROOT
from training.reproduction import report

RUN = ROOT / "docs" / "runs" / "published"
PAGE = ROOT / "docs" / "development" / report.PAGE


@pytest.fixture
def rows() -> list[dict[str, str]]:
    with (RUN / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_epoch_has_its_row_and_its_seconds(rows: list[dict[str, str]]) -> None:
    assert [int(row["epoch"]) for row in rows] == list(range(1, len(rows) + 1))
    assert all(float(row["seconds"]) > 0 for row in rows)


def test_it_is_the_published_recipe() -> None:
    facts = json.loads((RUN / "published.json").read_text(encoding="utf-8"))
    settings = json.loads((RUN / "config.json").read_text(encoding="utf-8"))["settings"]
    published = facts["hyperparameters"]
    for name in ("batch_size", "epochs", "learning_rate"):
        assert settings[name] == published[name], name
    assert settings["validation_images"] == facts["images"]["validation"]


def test_the_model_that_was_measured_is_the_best_of_these_epochs(rows: list[dict[str, str]]) -> None:
    best = max(rows, key=lambda row: float(row["validation_accuracy"]))
    measured = json.loads((RUN / "validation" / "metrics.json").read_text(encoding="utf-8"))
    assert measured["accuracy"] == pytest.approx(float(best["validation_accuracy"]), abs=0.002)  # that one in bfloat16


def test_the_readme_says_what_was_measured() -> None:
    measured = json.loads((RUN / "test" / "metrics.json").read_text(encoding="utf-8"))
    published = json.loads((RUN / "published.json").read_text(encoding="utf-8"))["class_accuracy"].values()
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"test accuracy {measured['accuracy']:.4f}" in text
    assert f"class accuracies have the mean {sum(published) / len(published):.4f}" in text


def test_the_report_is_what_the_files_give(tmp_path: Path) -> None:
    page = report.report(RUN, RUN, tmp_path)
    assert page.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")
