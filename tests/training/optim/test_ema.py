"""The moving average of weights."""

import pytest
from torch import nn

from training.optim import ema


def test_the_average_follows_the_weights() -> None:
    model, average = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    nn.init.zeros_(average.weight)
    ema.update(average, model, 0.9, 10_001)
    assert average.weight.item() == 0, "only every eighth step"
    ema.update(average, model, 0.9, 10_000)
    assert average.weight.item() == pytest.approx(1 - 0.9**8)
