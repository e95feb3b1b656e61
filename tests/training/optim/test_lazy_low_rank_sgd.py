"""Wide layers without written gradients: the weights, the momentum and the losses of torch's own SGD."""

import copy
import dataclasses
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training import checkpoint, trainer
from training.optim import lazy_low_rank_sgd
from training.settings import Settings


@pytest.fixture(autouse=True)
def _narrow_is_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy_low_rank_sgd, "_WIDE", 500)


def _model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 40), nn.Tanh(), nn.Linear(40, 5)).double()


def _train(model: nn.Module, optimizer: torch.optim.SGD, batches: list[tuple[Tensor, Tensor]], defer: bool) -> None:
    with lazy_low_rank_sgd.wide_layers(model, optimizer, torch.float64) if defer else nullcontext() as wide:
        for step, (inputs, labels) in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = 0.02 * (1 + step % 3)
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
            if wide:
                wide.step()


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_weights_and_momentum_are_those_of_the_optimiser(nesterov: bool, weight_decay: float) -> None:
    plain = _model()
    other = copy.deepcopy(plain)
    torch.manual_seed(1)
    sizes = [8] * 20 + [3] + [9] * 3  # more than are kept at once, a smaller one, and some larger than the first
    batches = [(torch.randn(size, 20, dtype=torch.float64), torch.randint(0, 5, (size,))) for size in sizes]
    optimizers = [
        torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, nesterov=nesterov, weight_decay=weight_decay)
        for model in (plain, other)
    ]
    for part in (batches, batches[::-1]):  # a second pass continues with the momentum of the first
        _train(plain, optimizers[0], part, defer=False)
        _train(other, optimizers[1], part, defer=True)
        for ours, theirs in zip(other.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
            found, expected = (
                run.state[of]["momentum_buffer"] for run, of in ((optimizers[1], ours), (optimizers[0], theirs))
            )
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_only_wide_layers_are_taken_and_they_are_handed_back() -> None:
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    inputs, labels = torch.randn(4, 20, dtype=torch.float64), torch.arange(4)
    with lazy_low_rank_sgd.wide_layers(model, optimizer, torch.float64):  # and stopped in the middle of a step
        F.cross_entropy(model(inputs), labels).backward()
        assert [part.weight.grad is None for part in model if isinstance(part, nn.Linear)] == [True, True, False]
        assert all(part.bias.grad is not None for part in model if isinstance(part, nn.Linear))
    assert not any("forward" in vars(part) for part in model)
    for ours, plain in zip(model.parameters(), _model().parameters(), strict=True):
        torch.testing.assert_close(ours, plain, rtol=0, atol=0)
    F.cross_entropy(model(inputs), labels).backward()
    assert all(part.weight.grad is not None for part in model if isinstance(part, nn.Linear))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_learns_what_one_with_written_gradients_learns(
    tmp_path: Path, data_root: Path, small_settings: Settings, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    settings = small_settings.replace(epochs=2, batch_size=7, precision=precision)
    trainer.start(settings, data_root, tmp_path / "deferred")
    steps = []
    monkeypatch.setattr(lazy_low_rank_sgd, "_WIDE", 2**30)
    monkeypatch.setattr(lazy_low_rank_sgd.LazyLayers, "step", lambda self: steps.append(self._layers))
    trainer.start(settings, data_root, tmp_path / "plain")
    assert steps
    assert not any(steps)  # nothing was deferred there
    for ours, plain in zip(_rows(tmp_path / "deferred"), _rows(tmp_path / "plain"), strict=True):
        for name in ("training_loss", "validation_loss"):
            # What rounds otherwise in its last digit takes another way through a ReLU: no closer than this.
            assert np.isclose(ours[name], plain[name], rtol=1e-2), name


def _rows(run: Path) -> list[dict[str, Any]]:
    return [dataclasses.asdict(epoch) for epoch in checkpoint.load(run / "last.pt").epochs]
