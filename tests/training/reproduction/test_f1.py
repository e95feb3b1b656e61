"""The F1 scores that people compute, by hand and against scikit-learn."""

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from alexnet.evaluation.predictions import Predictions
from training.reproduction import f1

LEFT_OUT = "macro, absent classes left out"
LEFT_OUT_THOUGH_PREDICTED = "macro, absent classes left out although predicted"
AS_0 = "macro, absent classes as 0"
AS_1 = "macro, absent classes as 1"


def test_candidates_by_hand() -> None:
    found = _candidates([0, 0, 1], [0, 1, 1])  # F1 of classes 0 and 1: 2/3; class 2 is absent
    assert found["macro"] == pytest.approx(4 / 9)
    assert found["weighted"] == found["micro"] == pytest.approx(2 / 3)
    assert found[f"batches of 32, {LEFT_OUT}"] == pytest.approx(2 / 3)
    assert found[f"batches of 32, {LEFT_OUT_THOUGH_PREDICTED}"] == pytest.approx(2 / 3)
    assert found[f"batches of 32, {AS_0}"] == pytest.approx(4 / 9)
    assert found[f"batches of 32, {AS_1}"] == pytest.approx(7 / 9)
    assert found["batches of 32, weighted"] == pytest.approx(2 / 3)


def test_a_class_that_is_predicted_but_not_present_counts_unless_left_out() -> None:
    found = _candidates([0, 0], [0, 1])  # F1 of class 0: 2/3, of class 1: 0
    assert found[f"batches of 64, {LEFT_OUT}"] == pytest.approx(1 / 3)
    assert found[f"batches of 64, {LEFT_OUT_THOUGH_PREDICTED}"] == pytest.approx(2 / 3)
    assert found[f"batches of 64, {AS_1}"] == pytest.approx((2 / 3 + 0 + 1) / 3)


def test_a_smaller_last_batch_weighs_as_much_as_the_others() -> None:
    found = _candidates([0] * 33, [0] * 32 + [1])
    assert found["batches of 32, weighted"] == pytest.approx(1 / 2)
    assert found["batches of 64, weighted"] == pytest.approx(64 / 65)


def test_every_candidate_agrees_with_scikit_learn() -> None:
    random = np.random.default_rng(0)
    labels = random.choice(10, 1000, p=np.arange(1, 11) / 55)  # rare classes are absent from many batches
    predicted = np.where(random.random(1000) < 0.8, labels, random.integers(0, 10, 1000))
    found = f1.candidates(Predictions(labels, predicted), 10)
    every = list(range(10))
    ways: dict[str, Any] = {
        LEFT_OUT: lambda _: {"average": "macro"},
        LEFT_OUT_THOUGH_PREDICTED: lambda true: {"average": "macro", "labels": np.unique(true)},
        AS_0: lambda _: {"average": "macro", "labels": every, "zero_division": 0.0},
        AS_1: lambda _: {"average": "macro", "labels": every, "zero_division": 1.0},
        "weighted": lambda _: {"average": "weighted"},
    }
    expected = {name: f1_score(labels, predicted, average=name) for name in ("macro", "weighted", "micro")}
    for size in (32, 64):
        batches = [(labels[i : i + size], predicted[i : i + size]) for i in range(0, 1000, size)]
        for name, way in ways.items():
            expected[f"batches of {size}, {name}"] = np.mean([f1_score(a, b, **way(a)) for a, b in batches])
    assert found == pytest.approx(expected, abs=1e-12)
    assert len({round(value, 12) for value in found.values()}) == len(found)  # no two ways are the same here


def _candidates(labels: list[int], predicted: list[int]) -> dict[str, float]:
    return f1.candidates(Predictions(np.array(labels), np.array(predicted)), 3)
