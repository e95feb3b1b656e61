"""Learning rate and weight decay, each against its formula."""

import pytest
import torch
from torch import nn

from training.networks.alexnet import AlexNet
from training.networks.teacher import Teacher
from training.optim import schedule
from training.settings import Settings

COSINE = Settings(epochs=11, lr_schedule="cosine", warmup_epochs=1.0, learning_rate=0.5)


def test_the_published_rate_is_constant() -> None:
    assert {schedule.factor(Settings(), step, 1000) for step in range(1000)} == {1.0}


def test_the_rate_rises_then_falls_along_half_a_cosine_to_zero() -> None:
    rates = [schedule.factor(COSINE, step, 110) for step in range(110)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[60] == pytest.approx(0.5)
    assert 0 < rates[-1] < 0.001
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_every_group_gets_its_own_share_of_the_rate() -> None:
    settings = COSINE.replace(backbone_lr_scale=0.1, weight_decay=0.01)
    optimizer = schedule.sgd(AlexNet(10, 63), settings)
    schedule.set_learning_rate(optimizer, settings, 60, 110)
    found = {(group["lr"], group["weight_decay"], group["params"][0].ndim > 1) for group in optimizer.param_groups}
    assert found == {(0.25, 0.01, True), (0.25, 0.0, False), (0.025, 0.01, True), (0.025, 0.0, False)}


def test_the_biases_of_a_teachers_batch_normalisation_move_at_their_own_rate() -> None:
    settings = COSINE.replace(network="teacher", input_size=32, norm_bias_lr_scale=64.0, weight_decay=0.01)
    teacher = Teacher(10, 32)
    optimizer = schedule.sgd(teacher, settings)
    found = {(group["lr"], group["weight_decay"]): len(group["params"]) for group in optimizer.param_groups}
    assert found == {(0.5, 0.01): 10, (32.0, 0.0): 9}  # nine convolutions and the head; no scale of a norm
    assert all(part.bias.ndim == 1 for part in teacher.modules() if isinstance(part, nn.BatchNorm2d))


def test_rates_that_a_device_holds_are_the_same_rates_and_are_saved_as_numbers() -> None:
    settings = COSINE.replace(backbone_lr_scale=0.1)
    weights = []
    for held in (False, True):
        torch.manual_seed(0)
        model = nn.ModuleDict({"network": nn.ModuleDict({"features": nn.Linear(3, 3), "rest": nn.Linear(3, 3)})})
        optimizer = schedule.sgd(model, settings)
        if held:
            schedule.keep_on(torch.device("cpu"), optimizer)
        for step in (0, 60):
            schedule.set_learning_rate(optimizer, settings, step, 110)
            for weight in model.parameters():
                weight.grad = torch.ones_like(weight)
            optimizer.step()
        weights.append(torch.cat([weight.detach().flatten() for weight in model.parameters()]))
    assert torch.allclose(*weights, rtol=1e-6)
    fresh = schedule.sgd(model, settings)
    schedule.restore(fresh, optimizer.state_dict())
    assert [group["lr"] for group in fresh.param_groups] == pytest.approx([0.025, 0.25])
    assert all(isinstance(group["lr"], float) for group in fresh.param_groups)


def test_the_published_run_has_one_group_of_all_weights() -> None:
    model = AlexNet(10, 63)
    (group,) = schedule.sgd(model, Settings()).param_groups
    assert [id(item) for item in group["params"]] == [id(item) for item in model.parameters()]
