"""Probabilities to labels: best first, rounded, in the words of the service."""

import numpy as np
import pytest

from alexnet.inference.prediction import LabelScore, Prediction, rank

CLASSES = ("a", "b", "c", "d")
PROBABILITIES = np.array([0.1, 0.4, 0.1, 0.39999999], np.float32)


@pytest.mark.parametrize(("top_k", "labels"), [(1, "b"), (2, "bd"), (4, "bdac"), (9, "bdac")])
def test_the_best_come_first_and_equal_ones_in_the_order_of_the_classes(top_k: int, labels: str) -> None:
    assert [label for label, _ in rank(PROBABILITIES, CLASSES, top_k)] == list(labels)


def test_scores_are_rounded_to_six_decimals() -> None:
    assert rank(np.array([0.12345678, 0.87654322], np.float32), CLASSES, 2) == (("b", 0.876543), ("a", 0.123457))


def test_the_json_is_that_of_the_service() -> None:
    top = (LabelScore("b", 0.75), LabelScore("a", 0.25))
    told = [{"label": "b", "score": 0.75}, {"label": "a", "score": 0.25}]
    assert Prediction(top).describe() == {"predictions": told}
    assert Prediction(top, is_ood=False, ood_score=1.5).describe() == {"predictions": told, "unknown": False}
    assert (Prediction(top).label, Prediction(top).score) == ("b", 0.75)
