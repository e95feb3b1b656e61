"""Logistic regression: the optimum that scikit-learn finds, scaling folded away, copies in one fold."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from alexnet.probe import logistic
from alexnet.probe.logistic import FOLDS, Linear, Scale


def data(images: int, width: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(images) % classes
    centres = rng.normal(0, 1, (classes, width))
    features = centres[labels][:, None] + rng.normal(0, 1.5, (images, 2, width))
    return features.astype(np.float32), labels


@pytest.mark.parametrize("penalty", [1e-2, 1e-3])
def test_the_optimum_is_that_of_scikit_learn(penalty: float) -> None:
    features, labels = data(60, 12, 3)
    x = Scale.of(features)(features)
    (layer,) = logistic._path(x, labels, 3, (penalty,))
    rows, repeated = x.reshape(-1, 12), np.repeat(labels, 2)
    theirs = LogisticRegression(C=1 / (penalty * len(rows)), tol=1e-8, max_iter=5000).fit(rows, repeated)
    ours = logistic.softmax(layer(rows))
    assert np.abs(ours - theirs.predict_proba(rows)).max() < 2e-3


def test_fewer_images_than_features_give_the_same_layer_in_their_span() -> None:
    features, labels = data(10, 40, 2)
    x = Scale.of(features)(features)
    basis = logistic._basis(x)
    assert basis is not None
    assert basis.shape == (40, 20)
    (whole,), (part,) = (logistic._path(rows, labels, 2, (1e-3,)) for rows in (x, x @ basis))
    assert np.allclose(whole.weight, basis @ part.weight, atol=0.05 * np.abs(whole.weight).max())


def test_scaling_is_folded_into_the_layer() -> None:
    features, _ = data(20, 6, 2)
    layer = Linear(np.random.default_rng(1).normal(size=(6, 2)).astype(np.float32), np.array([1, 2], np.float32))
    scale = Scale.of(features)
    assert np.allclose(scale.folded_into(layer)(features[:, 0]), layer(scale(features[:, 0])), atol=1e-4)


def test_copies_are_in_one_fold_and_each_class_is_in_all() -> None:
    labels = np.repeat([0, 1], [12, 8])
    digests = np.arange(20, dtype=np.uint8)[:, None].repeat(32, 1)
    digests[1] = digests[0]
    folds = logistic.draw_folds(labels, digests, 0, 1000)
    assert folds[0] == folds[1]
    for label in (0, 1):
        assert set(folds[labels == label]) == set(range(FOLDS))
    assert np.array_equal(folds, logistic.draw_folds(labels, digests, 0, 1000))
    assert not np.array_equal(folds, logistic.draw_folds(labels, digests, 1, 1000))
    assert (logistic.draw_folds(labels, digests, 0, 10) >= 0).sum() in (10, 11, 12)  # copies come together


def test_the_probe_learns_and_its_held_out_logits_are_honest() -> None:
    features, labels = data(60, 12, 3)
    folds = logistic.draw_folds(labels, np.arange(60, dtype=np.uint8)[:, None], 0, 1000)
    done: list[int] = []
    probe = logistic.fit_probe(features, labels, folds, 3, done.append)
    assert done == [1, 2, 3, 4, 5]
    assert (probe.logits.argmax(1) == labels).mean() > 0.8
    shuffled = np.random.default_rng(3).permutation(labels)
    chance = logistic.fit_probe(features, shuffled, folds, 3, done.append)
    assert (chance.logits.argmax(1) == shuffled).mean() < 0.6
