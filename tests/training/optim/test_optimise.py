"""Loss, learning rate, weight decay and moving average, each against its formula."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from training.networks.alexnet import AlexNet
from training.networks.teacher import Teacher
from training.optim import optimise
from training.optim.augment import Mixture
from training.settings import Settings

COSINE = Settings(epochs=11, lr_schedule="cosine", warmup_epochs=1.0, learning_rate=0.5)


def test_the_published_rate_is_constant() -> None:
    assert {optimise.rate_factor(Settings(), step, 1000) for step in range(1000)} == {1.0}


def test_the_rate_rises_then_falls_along_half_a_cosine_to_zero() -> None:
    rates = [optimise.rate_factor(COSINE, step, 110) for step in range(110)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[60] == pytest.approx(0.5)
    assert 0 < rates[-1] < 0.001
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_every_group_gets_its_own_share_of_the_rate() -> None:
    settings = COSINE.replace(backbone_lr_scale=0.1, weight_decay=0.01)
    optimizer = optimise.optimizer(AlexNet(10, 63), settings)
    optimise.set_rate(optimizer, settings, 60, 110)
    found = {(group["lr"], group["weight_decay"], group["params"][0].ndim > 1) for group in optimizer.param_groups}
    assert found == {(0.25, 0.01, True), (0.25, 0.0, False), (0.025, 0.01, True), (0.025, 0.0, False)}


def test_the_biases_of_a_teachers_batch_normalisation_move_at_their_own_rate() -> None:
    settings = COSINE.replace(network="teacher", input_size=32, norm_bias_lr_scale=64.0, weight_decay=0.01)
    teacher = Teacher(10, 32)
    optimizer = optimise.optimizer(teacher, settings)
    found = {(group["lr"], group["weight_decay"]): len(group["params"]) for group in optimizer.param_groups}
    assert found == {(0.5, 0.01): 10, (32.0, 0.0): 9}  # nine convolutions and the head; no scale of a norm
    assert all(part.bias.ndim == 1 for part in teacher.modules() if isinstance(part, nn.BatchNorm2d))


def test_rates_that_a_device_holds_are_the_same_rates_and_are_saved_as_numbers() -> None:
    settings = COSINE.replace(backbone_lr_scale=0.1)
    weights = []
    for held in (False, True):
        torch.manual_seed(0)
        model = nn.ModuleDict({"network": nn.ModuleDict({"features": nn.Linear(3, 3), "rest": nn.Linear(3, 3)})})
        optimizer = optimise.optimizer(model, settings)
        if held:
            optimise.keep_rates_on(torch.device("cpu"), optimizer)
        for step in (0, 60):
            optimise.set_rate(optimizer, settings, step, 110)
            for weight in model.parameters():
                weight.grad = torch.ones_like(weight)
            optimizer.step()
        weights.append(torch.cat([weight.detach().flatten() for weight in model.parameters()]))
    assert torch.allclose(*weights, rtol=1e-6)
    fresh = optimise.optimizer(model, settings)
    optimise.restore(fresh, optimizer.state_dict())
    assert [group["lr"] for group in fresh.param_groups] == pytest.approx([0.025, 0.25])
    assert all(isinstance(group["lr"], float) for group in fresh.param_groups)


def test_the_published_run_has_one_group_of_all_weights() -> None:
    model = AlexNet(10, 63)
    (group,) = optimise.optimizer(model, Settings()).param_groups
    assert [id(item) for item in group["params"]] == [id(item) for item in model.parameters()]


def test_without_a_teacher_the_loss_is_the_smoothed_cross_entropy() -> None:
    logits, labels = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([0])
    wanted = -(0.9 + 0.1 / 3) * F.log_softmax(logits, 1)[0, 0] - 0.1 / 3 * F.log_softmax(logits, 1)[0, 1:].sum()
    assert optimise.loss(logits, labels, None, Settings(label_smoothing=0.1)).item() == pytest.approx(wanted.item())


def test_a_teacher_that_agrees_adds_nothing_and_one_that_differs_pulls() -> None:
    settings = Settings(distill_weight=1.0, distill_temperature=3.0)
    logits, labels = torch.randn(4, 10, requires_grad=True), torch.zeros(4, dtype=torch.int64)
    assert optimise.loss(logits, labels, logits.detach(), settings).item() == pytest.approx(0, abs=1e-6)
    taught = torch.randn(4, 10)
    (gradient,) = torch.autograd.grad(optimise.loss(logits, labels, taught, settings), logits)
    wanted = (F.softmax(logits / 3, 1) - F.softmax(taught / 3, 1)) * 3 / 4  # 1/T of the softmax times T squared, a mean
    assert torch.allclose(gradient, wanted, atol=1e-6)


def test_the_average_follows_the_weights() -> None:
    model, average = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    nn.init.zeros_(average.weight)
    optimise.move_average(average, model, 0.9, 10_001)
    assert average.weight.item() == 0, "only every eighth step"
    optimise.move_average(average, model, 0.9, 10_000)
    assert average.weight.item() == pytest.approx(1 - 0.9**8)


@pytest.mark.parametrize("taught", [False, True])
def test_weighted_images_count_as_if_there_were_more_of_them(taught: bool) -> None:
    """A weight of 3 on one class is that class three times over: smoothed labels and a teacher's share included."""
    settings = Settings(label_smoothing=0.1, distill_weight=0.4)
    logits, theirs, labels = torch.randn(6, 3), torch.randn(6, 3), torch.tensor([0, 0, 1, 2, 2, 2])
    found = optimise.loss(logits, labels, theirs if taught else None, settings, torch.tensor([1.0, 3.0, 1.0]))
    more = torch.tensor([0, 1, 2, 2, 2, 3, 4, 5])
    wanted = optimise.loss(logits[more], labels[more], theirs[more] if taught else None, settings) * 8 / 6
    assert found.item() == pytest.approx(wanted.item(), rel=1e-6)
    halves = [
        optimise.loss(logits[part], labels[part], theirs[part] if taught else None, settings, torch.ones(3))
        for part in (slice(0, 3), slice(3, 6))  # as two processes have them
    ]
    whole = optimise.loss(logits, labels, theirs if taught else None, settings)
    assert sum(halves).item() / 2 == pytest.approx(whole.item(), rel=1e-6)


def test_the_weights_of_classes_are_those_of_scikit_learn() -> None:
    labels = torch.tensor([0] * 12 + [1] * 3 + [2] * 5)
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=labels.numpy())
    assert optimise.class_weights(labels, 3).tolist() == pytest.approx(wanted.tolist())
    assert optimise.class_weights(labels, 3)[labels].mean().item() == pytest.approx(1)
    assert torch.isfinite(optimise.class_weights(labels, 4)).all()


def test_a_mixed_image_has_the_cross_entropy_with_its_shares() -> None:
    """As with soft targets: https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html."""
    logits, labels, own = torch.randn(4, 3), torch.tensor([0, 1, 2, 2]), torch.tensor([1.0, 0.7, 0.5, 0.9])
    others = labels.roll(-1)
    found = optimise.loss(logits, labels, None, Settings(label_smoothing=0.1), mixture=Mixture(others, own))
    shares = own[:, None] * F.one_hot(labels, 3) + (1 - own)[:, None] * F.one_hot(others, 3)
    assert found.item() == pytest.approx(F.cross_entropy(logits, shares, label_smoothing=0.1).item(), rel=1e-6)
