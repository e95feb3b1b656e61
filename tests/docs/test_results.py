"""Every published result names the model that ships, or its page says that it was measured on an earlier one."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alexnet import files
from alexnet.paths import MODEL, ROOT
from benchmarks.records import EARLIER, RESULTS, describe_model

SHIPPED = files.sha256(MODEL)
PAGES = " ".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md"))


def measured_models(path: Path) -> Iterator[str]:
    """The SHA-256, whole or its beginning, of each model of ours that a result file names."""
    if path.suffix == ".json":
        found: dict[str, Any] = json.loads(path.read_text())
        model = found["model"]
        yield model["sha256"] if isinstance(model, dict) else model
        return
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if "sha256" in row and not row.get("model", "").startswith("float32"):
                yield row["sha256"]
            elif "sha256" not in row and row.get("model"):
                yield row["model"]


@pytest.mark.parametrize("path", sorted(RESULTS.iterdir()), ids=lambda path: path.name)
def test_a_result_is_of_the_shipped_model_or_its_page_says_that_it_is_not(path: Path) -> None:
    for sha256 in set(measured_models(path)) - {""}:
        assert SHIPPED.startswith(sha256) or f"{sha256[:12]} ({EARLIER})" in PAGES, f"{path.name} names {sha256}"


def test_a_model_that_does_not_ship_is_said_to_be_an_earlier_one() -> None:
    assert describe_model(SHIPPED) == f"model {SHIPPED[:12]}"
    assert describe_model("0" * 64) == f"model {'0' * 12} ({EARLIER})"


def test_every_result_file_is_read_by_a_page() -> None:
    known = ("serving", "inference", "evaluate", "training", "startup", "predict", "container", "reliability")
    assert [path.name for path in RESULTS.iterdir() if path.stem.partition("-")[0] not in known] == []


def test_every_missed_target_has_its_reason() -> None:
    page = (ROOT / "docs" / "guide" / "benchmarks.md").read_text(encoding="utf-8")
    measured, reasons = page.split("## Missed targets")
    missed = re.findall(r"^- FAIL ([\d.]+ ?\w+) ", measured, re.MULTILINE)
    assert missed
    assert [value for value in missed if value not in reasons.partition("## ")[0]] == []
