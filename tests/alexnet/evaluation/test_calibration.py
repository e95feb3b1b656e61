"""Calibration: the errors as worked out by hand and by others, and the fitted temperature."""

import sys

import numpy as np
import pytest
from sklearn import metrics

from alexnet.evaluation import calibration
from alexnet.evaluation.calibration import Temperature


def test_the_calibration_error_is_that_worked_out_by_hand() -> None:
    """Four images in three of the fifteen bins: 0.6 (its upper edge) and 0.55 together, 0.95, and 1.0."""
    probabilities = np.array([[0.6, 0.4], [0.55, 0.45], [0.05, 0.95], [1.0, 0.0]])
    found = calibration.reliability(probabilities, np.array([0, 1, 1, 1]))
    assert found.count.tolist() == [0] * 8 + [2] + [0] * 5 + [2]
    # Bin of 0.5333 to 0.6: confidence 0.575, accuracy 0.5. Bin of 0.9333 to 1: confidence 0.975, accuracy 0.5.
    assert found.expected_calibration_error == pytest.approx((2 * 0.075 + 2 * 0.475) / 4)
    assert found.confidence[8] == pytest.approx(0.575)
    assert found.accuracy[14] == 0.5


def test_the_calibration_error_of_many_images_is_that_of_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(10, 0.3), 3000)
    labels = rng.integers(0, 10, 3000)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    error = 0.0
    for place in range(15):
        inside = (confidence > place / 15) & (confidence <= (place + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert calibration.reliability(probabilities, labels).expected_calibration_error == pytest.approx(error)


def test_the_likelihood_is_that_of_scikit_learn_and_survives_a_zero() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(5), 100)
    labels = rng.integers(0, 5, 100)
    expected = metrics.log_loss(labels, probabilities, labels=range(5))
    assert calibration.negative_log_likelihood(probabilities, labels) == pytest.approx(expected)
    assert np.isfinite(calibration.negative_log_likelihood(np.array([[1.0, 0.0]], np.float32), np.array([1])))


@pytest.mark.parametrize("factor", [0.4, 1.0, 2.5])
def test_the_fit_finds_the_temperature_that_the_images_were_made_with(factor: float) -> None:
    rng = np.random.default_rng(0)
    probabilities = calibration.softmax(rng.normal(0, 3, (20_000, 10)))
    labels = (probabilities.cumsum(1) > rng.random((len(probabilities), 1))).argmax(1)
    wrong = calibration.apply_temperature(probabilities, Temperature(1 / factor))
    found = calibration.fit_temperature(wrong, labels)
    assert found.base == pytest.approx(factor, rel=0.1)
    assert max(found.slope, found.certainty_slope) < 0.1
    assert (
        calibration.reliability(calibration.apply_temperature(wrong, found), labels).expected_calibration_error < 0.01
    )


@pytest.mark.parametrize("truth", [Temperature(1.5, 0.4), Temperature(1.2, 0.1, 0.4)])
def test_the_fit_finds_a_temperature_that_depends_on_the_entropy(truth: Temperature) -> None:
    """One number cannot make these right: the first is overconfident, the second underconfident where unsure."""
    rng = np.random.default_rng(0)
    told = calibration.softmax(rng.normal(0, 1, (20_000, 10)) * rng.uniform(0.1, 5, (20_000, 1)))
    probabilities = calibration.apply_temperature(told, truth)
    labels = (probabilities.cumsum(1) > rng.random((len(probabilities), 1))).argmax(1)
    found = calibration.fit_temperature(told, labels)
    assert np.abs(np.log(found.of(told) / truth.of(told))).mean() < 0.05
    calibrated = calibration.apply_temperature(told, found)
    assert calibration.reliability(calibrated, labels).expected_calibration_error < 0.01


@pytest.mark.parametrize(
    "temperature", [Temperature(3.0), Temperature(0.6, 0.0), Temperature(1.2, 0.3), Temperature(1.2, 0.3, 0.4)]
)
def test_a_temperature_divides_the_logits_and_changes_no_class(temperature: Temperature) -> None:
    logits = np.random.default_rng(0).normal(0, 4, (50, 10))
    probabilities = calibration.softmax(logits)
    hot = calibration.apply_temperature(probabilities, temperature)
    share = -(probabilities * np.log(probabilities)).sum(1, keepdims=True) / np.log(10)
    divisor = temperature.base * share**temperature.slope * (1 - share) ** temperature.certainty_slope
    np.testing.assert_allclose(hot, calibration.softmax(logits / divisor), atol=1e-9)
    assert np.array_equal(hot.argmax(1), probabilities.argmax(1))


def test_certain_probabilities_stay_finite() -> None:
    certain = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3]], np.float32)
    found = calibration.apply_temperature(certain, Temperature(2.0, 0.5, 0.5))
    assert np.isfinite(found).all()
    assert found[0].argmax() == 0


def test_the_interval_of_the_error_is_that_of_resampling_and_holds_it() -> None:
    rng = np.random.default_rng(0)
    probabilities = calibration.softmax(rng.normal(0, 2, (2_000, 5)))
    labels = np.where(rng.random(2_000) < 0.5, probabilities.argmax(1), rng.integers(0, 5, 2_000))
    low, high = calibration.expected_calibration_error_interval(probabilities, labels)
    error = calibration.reliability(probabilities, labels).expected_calibration_error
    assert low < error < high
    # The gap of confidence and accuracy is the same in all bins here: its standard error is about 0.5 / sqrt(2,000).
    assert high - low == pytest.approx(2 * 1.96 * 0.0105, rel=0.3)
    assert calibration.expected_calibration_error_interval(probabilities, labels) == (low, high)


def test_fitting_needs_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match="scipy"):
        calibration.fit_temperature(np.full((2, 2), 0.5), np.array([0, 1]))
