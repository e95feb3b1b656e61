"""SGD and its learning rate over the steps of a run.

In: a network and `Settings`. Out: an optimiser with one group of weights per learning rate and weight decay.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from training.settings import Settings


def sgd(model: nn.Module, settings: Settings) -> torch.optim.SGD:
    """SGD for `model`. AlexNet's convolutions and the biases of batch normalisation have learning rates of their own;
    weight decay applies to weights alone.
    """
    norm_biases = {part.bias for part in model.modules() if isinstance(part, nn.BatchNorm2d)}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        scale = settings.backbone_lr_scale if name.startswith("network.features.") else 1.0
        if parameter in norm_biases:
            scale *= settings.norm_bias_lr_scale
        decay = settings.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((scale, decay), []).append(parameter)
    rate = settings.learning_rate
    return torch.optim.SGD(
        [
            {"params": found, "lr": rate * scale, "full_lr": rate * scale, "weight_decay": decay}
            for (scale, decay), found in groups.items()
        ],
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        fused=True,
    )


def restore(optimizer: torch.optim.SGD, saved: dict[str, Any]) -> None:
    """Load the state dict `saved`; learning rates become plain numbers, wherever the run that saved them kept them."""
    optimizer.load_state_dict(saved)
    for group in optimizer.param_groups:
        group["lr"] = float(group["lr"])


def keep_on(device: torch.device, optimizer: torch.optim.SGD) -> None:
    """Keep the learning rates on `device`, where a recorded step reads them."""
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(float(group["lr"]), device=device)


def set_learning_rate(optimizer: torch.optim.SGD, settings: Settings, step: int, steps: int) -> None:
    """Give every group its learning rate at `step` (from 0) of `steps`."""
    for group in optimizer.param_groups:
        rate = group["full_lr"] * factor(settings, step, steps)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def factor(settings: Settings, step: int, steps: int) -> float:
    """What multiplies the learning rate at `step` (from 0) of `steps`: linear warm-up, then 1 or half a cosine to 0."""
    warmup = round(settings.warmup_epochs * steps / settings.epochs)
    if step < warmup:
        return (step + 1) / warmup
    if settings.lr_schedule == "constant":
        return 1.0
    done = (step - warmup) / max(1, steps - warmup)
    return (1 + math.cos(math.pi * done)) / 2
