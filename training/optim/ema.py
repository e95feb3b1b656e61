"""Exponential moving average (EMA) of a network's weights."""

from typing import Final

import torch
from torch import nn

_STEPS: Final = 8  # between updates: 57 million weights cost too much to average after every step


@torch.no_grad()
def update(ema: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move `ema` towards `model` when `step`, from 1, is a multiple of eight; `decay` is per step.

    The decay is smaller at first, so that the initial weights fade quickly. Buffers (the statistics of batch
    normalisation) are copied.
    """
    if step % _STEPS:
        return
    kept = min(decay, (1 + step) / (10 + step)) ** _STEPS
    torch._foreach_lerp_(list(ema.parameters()), list(model.parameters()), 1 - kept)
    for ours, theirs in zip(ema.buffers(), model.buffers(), strict=True):
        ours.copy_(theirs)
