"""OOD detection: the score, its graph, and how well scores separate."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from sklearn import metrics

from alexnet.evaluation import calibration, ood
from alexnet.evaluation.calibration import Temperature
from alexnet.inference.classifier import Outputs
from training.export import output_head


def cloud(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings of three classes as clouds in six dimensions, the logits that tell them apart, and the labels."""
    centres = 4 * np.eye(3, 6)
    labels = rng.integers(0, 3, count)
    embeddings = centres[labels] + rng.normal(size=(count, 6)) * np.array([1, 1, 1, 0.1, 0.1, 3])
    return (embeddings @ centres.T).astype(np.float32), embeddings.astype(np.float32), labels


def test_the_distance_is_that_of_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least squared Mahalanobis distance from a class, less that from all."""
    monkeypatch.setattr(ood, "_SHRINKAGE", 0.0)
    _, embeddings, labels = cloud(np.random.default_rng(0), 3000)
    distance = ood.fit_mahalanobis(embeddings, labels, 3)
    means = np.stack([embeddings[labels == c].mean(0) for c in range(3)])
    within = np.linalg.inv(np.cov((embeddings - means[labels]).T))
    whole = np.linalg.inv(np.cov(embeddings.T))
    expected = [
        min((x - m) @ within @ (x - m) for m in means) - (x - embeddings.mean(0)) @ whole @ (x - embeddings.mean(0))
        for x in embeddings[:50].astype(np.float64)
    ]
    np.testing.assert_allclose(distance(embeddings[:50]), expected, rtol=0.01, atol=0.02)


def test_the_choice_tells_apart_what_logits_alone_cannot() -> None:
    rng = np.random.default_rng(0)
    logits, embeddings, labels = cloud(rng, 2000)
    distance = ood.fit_mahalanobis(embeddings, labels, 3)
    odd = embeddings[:500].copy()
    odd[:, 3] += 1.5  # no logit depends on it, and in-distribution embeddings are near zero there
    near = (logits, embeddings)
    score, area = ood.fit_score([distance], near, [(near, (logits[:500], odd))])
    assert score.distance_slope > 0
    assert area > 0.95
    assert score(logits, embeddings).mean() == pytest.approx(0, abs=1e-6)


def test_the_nearest_centroid_is_that_of_the_direction() -> None:
    """The length of an embedding does not count; three directions need three centroids."""
    rng = np.random.default_rng(0)
    directions = np.eye(3, 6)[rng.integers(0, 3, 300)]
    embeddings = (directions + rng.normal(0, 0.01, (300, 6))) * rng.uniform(1, 9, (300, 1))
    distance = ood.fit_centroids(embeddings)
    assert 3 <= len(distance.centroids) <= 30
    assert distance(embeddings).max() < 0.01
    apart = np.array([[0, 0, 0, 5, 0, 0], [-1, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0]], np.float32)
    np.testing.assert_allclose(distance(apart), [2, 2, 0], atol=0.05)  # of unit vectors at right angles
    assert np.isfinite(distance(np.zeros((1, 6))))


def test_of_two_distances_the_one_that_separates_is_chosen() -> None:
    rng = np.random.default_rng(0)
    logits, embeddings, labels = cloud(rng, 2000)
    distances = [ood.fit_mahalanobis(embeddings, labels, 3), ood.fit_centroids(embeddings)]
    odd = embeddings[:500].copy()
    odd[:, 3] += 1.5
    near = (logits, embeddings)
    for order in (distances, distances[::-1]):
        score, _ = ood.fit_score(order, near, [(near, (logits[:500], odd))])
        assert score.distance is distances[0]


@pytest.mark.parametrize("kind", ["mahalanobis", "centroids"])
@pytest.mark.parametrize("temperature", [Temperature(1.7), Temperature(1.3, 0.35), Temperature(1.3, 0.35, 0.2)])
def test_the_graph_computes_temperature_and_score(temperature: Temperature, kind: str) -> None:
    rng = np.random.default_rng(0)
    logits, embeddings, labels = cloud(rng, 400)
    distance: ood.Distance = ood.fit_mahalanobis(embeddings, labels, 3)
    if kind == "centroids":
        distance = ood.fit_centroids(embeddings)
        embeddings[0] = 0  # has no direction
    score = ood.OodScore(distance, energy_temperature=2.0, energy_slope=3.0, distance_slope=0.25, offset=1.5)
    shapes = {"logits": ["N", 3], "embedding": ["N", 6]}
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    given = [helper.make_tensor_value_info(f"{v.name}_in", TensorProto.FLOAT, shapes[v.name]) for v in values]
    nodes = [helper.make_node("Identity", [f"{v.name}_in"], [v.name]) for v in values]
    body = helper.make_model(
        helper.make_graph(nodes, "body", given, values), opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    )
    model = output_head.attach(body, temperature, score)
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    probabilities, scores = session.run(
        ["probabilities", "unknown_score"], {"logits_in": logits, "embedding_in": embeddings}
    )
    plain = calibration.softmax(logits)
    np.testing.assert_allclose(probabilities, calibration.apply_temperature(plain, temperature), atol=1e-5)
    np.testing.assert_allclose(scores, score(logits, embeddings), rtol=1e-3, atol=1e-3)
    assert scores.shape == (400,)


def test_the_area_is_that_of_scikit_learn_also_where_scores_are_equal() -> None:
    rng = np.random.default_rng(0)
    known, unknown = rng.integers(0, 20, 500), rng.integers(5, 25, 300)
    truth = np.r_[np.zeros(500), np.ones(300)]
    expected = metrics.roc_auc_score(truth, np.r_[known, unknown])
    assert ood.auroc(known.astype(float), unknown.astype(float)) == pytest.approx(expected)


def test_the_threshold_lets_95_of_100_known_images_pass() -> None:
    known = np.random.default_rng(0).normal(size=1000)
    limit = ood.threshold(known)
    assert 0.95 <= (known <= limit).mean() < 0.952
    false_positives, passing, thresholds = metrics.roc_curve(
        np.r_[np.ones(1000), np.zeros(500)], np.r_[-known, -known[:500] - 1]
    )
    place = np.flatnonzero(thresholds <= -limit)[0]
    assert passing[place] >= 0.95
    found = ood.fpr_at_95_tpr(known, known[:500] + 1)
    assert found == pytest.approx(false_positives[place], abs=0.003)


def test_the_interval_of_the_area_is_as_wide_as_chance_makes_it() -> None:
    """DeLong's standard error is that of the areas of many samples of one distribution."""
    rng = np.random.default_rng(0)
    samples = [(rng.normal(size=200), rng.normal(1, 1.5, size=100)) for _ in range(3_000)]
    areas = [ood.auroc(*sample) for sample in samples]
    widths = [high - low for low, high in (ood.auroc_interval(*sample) for sample in samples)]
    assert np.mean(widths) == pytest.approx(2 * 1.96 * np.std(areas), rel=0.05)
    truth = np.mean(areas)
    inside = [low <= truth <= high for low, high in (ood.auroc_interval(*sample) for sample in samples)]
    assert 0.92 < np.mean(inside) < 0.98


def test_the_interval_of_the_rate_holds_it() -> None:
    rng = np.random.default_rng(0)
    known, unknown = rng.normal(size=500), rng.normal(1, size=400)
    low, high = ood.fpr_at_95_tpr_interval(known, unknown)
    assert low < ood.fpr_at_95_tpr(known, unknown) < high
    assert high - low < 0.25


def test_what_a_model_file_says_of_a_set_is_measured_at_its_own_threshold() -> None:
    probabilities = np.full((4, 2), 0.5, np.float32)

    def answers(*scores: float) -> Outputs:
        return Outputs(probabilities[: len(scores)], np.array(scores, np.float32), np.array(scores) > 0.5)

    found = ood.measure(answers(0.1, 0.2, 0.3, 0.6), answers(0.4, 0.7, 0.9, 0.9), "a" * 64)
    assert (found.images, found.sha256) == (4, "a" * 64)
    assert found.auroc == pytest.approx(15 / 16)  # one of 16 pairs is the wrong way round
    assert found.fpr_at_95_tpr == 0.25
    assert found.refused == 0.75
