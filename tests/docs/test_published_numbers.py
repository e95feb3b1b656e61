"""The numbers in models/alexnet/metrics.json are those of models/alexnet/model.onnx.

They are computed again on the 10,000 test images where these are: in `./data`, or in the folder that the environment
variable ALEXNET_DATA names.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet import environment, files
from alexnet.datasets import cifar10
from alexnet.evaluation import evaluate
from alexnet.evaluation.scores import score
from alexnet.inference.classifier import Classifier
from alexnet.paths import ROOT

MODEL = ROOT / "models" / "alexnet" / "model.onnx"
METRICS = MODEL.with_name("metrics.json")
DATA = Path(os.environ.get("ALEXNET_DATA") or ROOT / "data")


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    if not METRICS.exists():
        pytest.skip(f"{METRICS} is not there")
    metrics: dict[str, Any] = json.loads(METRICS.read_text(encoding="utf-8"))
    return metrics


def test_the_numbers_are_of_the_model_beside_them(published: dict[str, Any]) -> None:
    assert published["model"]["sha256"] == files.sha256(MODEL)
    assert published["model"]["bytes"] == MODEL.stat().st_size
    assert published["model"]["run"] == Classifier(MODEL).metadata.run
    assert MODEL.with_name("confusion.png").exists()


def test_the_model_is_small_enough_for_git() -> None:
    if not MODEL.exists():
        pytest.skip(f"{MODEL} is not there")
    assert MODEL.stat().st_size <= 6_000_000


def test_the_numbers_follow_from_the_confusion_matrix(published: dict[str, Any]) -> None:
    confusion = np.array(published["confusion"])
    assert confusion.sum(1).tolist() == [1000] * 10  # the whole test split
    labels, predicted = (index.repeat(confusion.ravel()) for index in np.indices(confusion.shape).reshape(2, -1))
    scores = score(labels, predicted, 10)
    assert published["accuracy"] == scores.accuracy
    assert published["accuracy_interval_95"] == list(scores.interval)
    assert (published["macro_f1"], published["weighted_f1"]) == (scores.macro_f1, scores.weighted_f1)


def test_the_numbers_are_measured_again(published: dict[str, Any], tmp_path: Path) -> None:
    test_file = DATA / cifar10.FOLDER / cifar10.TEST_FILES[0]
    if not test_file.exists():
        pytest.skip(f"the test images of CIFAR-10 are not in {DATA}; name their folder in ALEXNET_DATA")
    measured = evaluate.evaluate(evaluate.Request(MODEL, DATA, tmp_path))
    found = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    same_cpu = published["environment"]["cpu"] == environment.cpu_kind()
    same_data = published["data"]["sha256"] == found["data"]["sha256"]  # a copy may hold a few images inexactly
    if same_cpu and same_data:
        for name in ("accuracy", "accuracy_interval_95", "macro_f1", "weighted_f1", "classes", "confusion"):
            assert found[name] == published[name], name
        return
    moved = np.abs(np.array(measured.confusion) - np.array(published["confusion"])).sum() / 2
    assert moved <= 5, f"{moved:.0f} images are taken for another class than when the numbers were published"
    assert found["accuracy"] == pytest.approx(published["accuracy"], abs=5 / 10_000)
    assert found["macro_f1"] == pytest.approx(published["macro_f1"], abs=5 / 1000 / 10 * 2)
