"""Scores: counted as scikit-learn counts them; which classes are confused, and how sure macro F1 is."""

from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

from alexnet.datasets import Images, cifar10
from alexnet.evaluation.scores import Pair, confused_samples, hardest_pairs, macro_f1_interval, score
from alexnet.inference.classifier import Classifier


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_scores_are_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 9, 500)  # no image of class 9
    predicted = np.where(generator.random(500) < 0.6, labels, generator.integers(1, 10, 500))
    predicted[predicted == 4] = 5  # class 4 is never predicted
    scores = score(labels, predicted, 10)
    names = {"labels": range(10), "zero_division": 0}
    assert scores.accuracy == metrics.accuracy_score(labels, predicted)
    assert np.array_equal(scores.confusion, metrics.confusion_matrix(labels, predicted, labels=range(10)))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(labels, predicted, **names)
    np.testing.assert_allclose(scores.precision, precision)
    np.testing.assert_allclose(scores.recall, recall)
    np.testing.assert_allclose(scores.f1, f1)
    assert np.array_equal(scores.support, support)
    assert scores.macro_f1 == pytest.approx(metrics.f1_score(labels, predicted, average="macro", **names))
    assert scores.weighted_f1 == pytest.approx(metrics.f1_score(labels, predicted, average="weighted", **names))
    assert len({scores.accuracy, scores.macro_f1, scores.weighted_f1}) == 3  # three numbers, each by its name


def test_the_hardest_pairs_count_both_directions() -> None:
    confusion = np.array([[90, 2, 3, 0], [5, 90, 1, 0], [3, 1, 90, 0], [0, 0, 0, 90]])
    found = hardest_pairs(confusion, ("a", "b", "c", "d"))
    assert found == [Pair("a", "b", 2, 5), Pair("a", "c", 3, 3), Pair("b", "c", 1, 1)]


def test_samples_are_confused_images_with_the_surest_first(small_model: Path, fixture_images: Images) -> None:
    probabilities = Classifier(small_model).run(fixture_images.pixels).probabilities
    predicted = probabilities.argmax(1)
    confusion = score(fixture_images.labels, predicted, 10).confusion
    pairs = hardest_pairs(confusion, cifar10.CLASSES)
    rows = confused_samples(fixture_images, probabilities, cifar10.CLASSES, pairs)
    assert len(rows) == len(pairs) > 0
    for pair, row in zip(pairs, rows, strict=True):
        assert 0 < len(row) <= pair.first_as_second + pair.second_as_first
        assert [sample.probability for sample in row] == sorted((sample.probability for sample in row), reverse=True)
        for sample in row:
            assert {sample.label, sample.predicted} == {pair.first, pair.second}
            assert cifar10.CLASSES[fixture_images.labels[sample.number]] == sample.label
            assert cifar10.CLASSES[predicted[sample.number]] == sample.predicted
            assert np.array_equal(sample.pixels, fixture_images.pixels[sample.number])


def test_the_interval_of_macro_f1_holds_it_and_shrinks_with_more_images() -> None:
    confusion = np.array([[80, 20], [30, 70]])
    widths = []
    for scale in (1, 100):
        low, high = macro_f1_interval(scale * confusion)
        assert low < 0.7494 < high
        widths.append(high - low)
    # A share of 0.75 among 200 has a standard error of 0.0306; macro F1 of equal classes moves as accuracy does.
    assert widths[0] == pytest.approx(2 * 1.96 * 0.0306, rel=0.15)
    assert widths[1] == pytest.approx(widths[0] / 10, rel=0.1)
    assert macro_f1_interval(confusion) == macro_f1_interval(confusion)
