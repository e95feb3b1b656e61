"""Losses, each against its formula."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight

from training.augment.basic import Mixture
from training.optim import losses


def test_smoothed_cross_entropy() -> None:
    logits, labels = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([0])
    wanted = -(0.9 + 0.1 / 3) * F.log_softmax(logits, 1)[0, 0] - 0.1 / 3 * F.log_softmax(logits, 1)[0, 1:].sum()
    assert losses.cross_entropy(logits, labels, 0.1).item() == pytest.approx(wanted.item())


def test_a_teacher_that_agrees_adds_nothing_and_one_that_differs_pulls() -> None:
    logits, labels = torch.randn(4, 10, requires_grad=True), torch.arange(4)
    assert losses.distillation(logits, logits.detach()[None], labels, 3.0).tolist() == pytest.approx([0] * 4, abs=1e-6)
    taught = torch.randn(4, 10)
    (gradient,) = torch.autograd.grad(losses.distillation(logits, taught[None], labels, 3.0).sum(), logits)
    wanted = (F.softmax(logits / 3, 1) - F.softmax(taught / 3, 1)) * 3  # 1/T of the softmax times T squared
    assert torch.allclose(gradient, wanted, atol=1e-6)


def test_several_teachers_count_by_the_probability_that_they_give_to_the_label() -> None:
    teachers, labels, temperature = torch.randn(3, 4, 10), torch.tensor([1, 0, 9, 9]), 2.0
    confidences = teachers.softmax(2)[:, range(4), labels]
    weights = confidences / confidences.sum(0)
    mean = (weights[..., None] * (teachers / temperature).softmax(2)).sum(0)
    logits = mean.log() * temperature
    assert losses.distillation(logits, teachers, labels, temperature).tolist() == pytest.approx([0] * 4, abs=1e-5)


def test_a_corrected_teacher_gives_the_label_what_it_gave_to_its_mistake() -> None:
    teachers = torch.tensor([[[3.0, 1.0, 2.0], [3.0, 1.0, 2.0]], [[0.5, 4.0, -1.0], [0.5, 4.0, -1.0]]])
    labels = torch.tensor([2, 0])
    corrected = torch.tensor([[[2.0, 1.0, 3.0], [3.0, 1.0, 2.0]], [[0.5, -1.0, 4.0], [4.0, 0.5, -1.0]]])
    assert torch.equal(losses.correct(teachers, labels), corrected)
    logits = torch.randn(2, 3)
    # How much a teacher counts is still decided by what it said.
    confidences = teachers.softmax(2)[:, range(2), labels]
    target = (confidences[..., None] * (corrected / 2).softmax(2)).sum(0) / confidences.sum(0)[:, None]
    wanted = F.kl_div((logits / 2).log_softmax(1), target, reduction="none").sum(1) * 4
    found = losses.distillation(logits, teachers, labels, 2.0, corrected=True)
    assert found.tolist() == pytest.approx(wanted.tolist(), rel=1e-5)


def test_outlier_exposure_is_least_for_uniform_probabilities() -> None:
    assert losses.outlier_exposure(torch.zeros(5, 10)).item() == pytest.approx(np.log(10))
    sure = torch.tensor([[8.0] + [0.0] * 9])
    wanted = -F.log_softmax(sure, 1).mean()
    assert losses.outlier_exposure(sure).item() == pytest.approx(wanted.item())
    assert wanted > np.log(10)


def test_weighted_images_count_as_if_there_were_more_of_them() -> None:
    """A weight of 3 on one class is that class three times over."""
    found, labels = torch.rand(6), torch.tensor([0, 0, 1, 2, 2, 2])
    weighted = losses.mean(found, labels, torch.tensor([1.0, 3.0, 1.0]))
    more = torch.tensor([0, 1, 2, 2, 2, 3, 4, 5])
    assert weighted.item() == pytest.approx(losses.mean(found[more], labels[more], None).item() * 8 / 6)


def test_the_weights_of_classes_are_those_of_scikit_learn() -> None:
    labels = torch.tensor([0] * 12 + [1] * 3 + [2] * 5)
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=labels.numpy())
    assert losses.class_weights(labels, 3).tolist() == pytest.approx(wanted.tolist())
    assert losses.class_weights(labels, 3)[labels].mean().item() == pytest.approx(1)
    assert torch.isfinite(losses.class_weights(labels, 4)).all()


def test_a_mixed_image_has_the_cross_entropy_with_both_labels() -> None:
    """As with soft targets: https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html."""
    logits, labels, own = torch.randn(4, 3), torch.tensor([0, 1, 2, 2]), torch.tensor([1.0, 0.7, 0.5, 0.9])
    others = labels.roll(-1)
    found = losses.cross_entropy(logits, labels, 0.1, Mixture(others, own)).mean()
    targets = own[:, None] * F.one_hot(labels, 3) + (1 - own)[:, None] * F.one_hot(others, 3)
    assert found.item() == pytest.approx(F.cross_entropy(logits, targets, label_smoothing=0.1).item(), rel=1e-6)
