"""docs/development/experiments.md is true where it names runs: their numbers are those of the files beside it."""

import csv
import json
import re

import pytest

from alexnet.paths import ROOT

TEXT = (ROOT / "docs" / "development" / "experiments.md").read_text(encoding="utf-8")
RUNS = ROOT / "docs" / "runs"
NAMED = re.findall(r"\| ([\d.]+) in epoch (\d+) of `(\w+)` \|", TEXT)


def test_runs_are_named() -> None:
    assert {name for _, _, name in NAMED} >= {"improved", "teacher"}


@pytest.mark.parametrize(("accuracy", "epoch", "name"), NAMED)
def test_the_best_epoch_of_each_run_is_that_of_its_metrics(accuracy: str, epoch: str, name: str) -> None:
    with (RUNS / name / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    best = max(rows, key=lambda row: float(row["validation_accuracy"]))
    assert (f"{float(best['validation_accuracy']):.4f}", best["epoch"]) == (accuracy, epoch)
    asked = json.loads((RUNS / name / "config.json").read_text())["settings"]["epochs"]
    if asked != len(rows):  # stopped before its end, which its row says
        assert re.search(rf"{len(rows)} (?:of {asked} )?epochs[^|]*\|[^|]*\|[^|]*`{name}` \|", TEXT), (asked, len(rows))


def test_what_it_says_of_the_shipped_model_is_what_was_measured() -> None:
    metrics = json.loads((ROOT / "models" / "alexnet" / "metrics.json").read_text())
    ood = metrics["ood"]["sets"]
    for value in (
        f"{metrics['accuracy']:.4f} (macro F1 {metrics['macro_f1']:.4f})",
        f"calibration error is {100 * metrics['calibration']['expected_calibration_error']:.2f} %",
        f"It is {ood['cifar-100']['auroc']:.3f} now",
        f"(AUROC {ood['noise']['auroc']:.3f})",
    ):
        assert value in " ".join(TEXT.split()), value
