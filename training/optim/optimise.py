"""What a step minimises and how it moves the weights: loss, optimiser, learning rate, moving average.

In: logits float32 [N, classes], labels int64 [N], `Settings`. Out: a scalar loss in nats an image; weights changed in
place.
"""

import math
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.optim.augment import Mixture
from training.settings import Settings

_AVERAGE_STEPS: Final = 8  # the moving average of 57 million weights is too dear for every step


def loss(
    logits: Tensor,
    labels: Tensor,
    taught: Tensor | None,
    settings: Settings,
    weights: Tensor | None = None,
    mixture: Mixture | None = None,
) -> Tensor:
    """Cross-entropy with the labels, and, with a teacher, the divergence from its softened answers.

    Both softmaxes are taken at the same temperature, whose square gives the gradients back their size (G. Hinton,
    https://arxiv.org/abs/1503.02531). Logits float32 [N, classes]. Of mixed images, the cross-entropy is the mean of
    those with both labels, by their shares. With `weights` float32 [classes], all that an image adds to the mean is
    multiplied by the weight of its class.
    """
    found = F.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing, reduction="none")
    if mixture is not None:
        others = F.cross_entropy(logits, mixture.others, label_smoothing=settings.label_smoothing, reduction="none")
        found = mixture.own * found + (1 - mixture.own) * others
    if taught is not None:
        temperature, share = settings.distill_temperature, settings.distill_weight
        ours, theirs = F.log_softmax(logits / temperature, 1), F.log_softmax(taught / temperature, 1)
        divergence = F.kl_div(ours, theirs, log_target=True, reduction="none").sum(1) * temperature**2
        found = (1 - share) * found + share * divergence
    return (found if weights is None else weights[labels] * found).mean()


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """N / (classes * n) float32 [classes] for a class with n of the N `labels` int64 [N]; their mean by image is one.

    Each class then adds the same to the loss of an epoch, however many images it has. The formula is scikit-learn's
    "balanced" (https://scikit-learn.org/stable/modules/generated/sklearn.utils.class_weight.compute_class_weight.html).
    """
    counts = torch.bincount(labels, minlength=classes).clamp(min=1)
    return len(labels) / (classes * counts.float())


def optimizer(model: nn.Module, settings: Settings) -> torch.optim.SGD:
    """SGD over groups of equal rate and decay: AlexNet's convolutions and the biases of batch normalisation apart from
    the rest, biases without weight decay.
    """
    of_norms = {part.bias for part in model.modules() if isinstance(part, nn.BatchNorm2d)}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        share = settings.backbone_lr_scale if name.startswith("network.features.") else 1.0
        if parameter in of_norms:
            share = settings.norm_bias_lr_scale
        decay = settings.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((share, decay), []).append(parameter)
    rate = settings.learning_rate
    return torch.optim.SGD(
        [
            {"params": found, "lr": rate * share, "full_rate": rate * share, "weight_decay": decay}
            for (share, decay), found in groups.items()
        ],
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        fused=True,
    )


def restore(optimizer: torch.optim.SGD, saved: dict[str, Any]) -> None:
    """Give `optimizer` its `saved` state; the full rates stay its own, for a version before this one saved none.

    The rates become plain numbers, wherever the run that saved them kept them.
    """
    full_rates = [group["full_rate"] for group in optimizer.param_groups]
    optimizer.load_state_dict(saved)
    for group, rate in zip(optimizer.param_groups, full_rates, strict=True):
        group["full_rate"] = rate
        group["lr"] = float(group["lr"])


def keep_rates_on(device: torch.device, optimizer: torch.optim.SGD) -> None:
    """Keep the learning rates of `optimizer` on `device`, for a recorded step reads them there."""
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(float(group["lr"]), device=device)


def set_rate(optimizer: torch.optim.SGD, settings: Settings, step: int, steps: int) -> None:
    """Give every group of `optimizer` its learning rate at `step` (from 0) of `steps`."""
    for group in optimizer.param_groups:
        rate = group["full_rate"] * rate_factor(settings, step, steps)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def rate_factor(settings: Settings, step: int, steps: int) -> float:
    """The learning rate's factor at `step` (from 0) of `steps`: a rising line, then one, or half a cosine to zero."""
    warmup = round(settings.warmup_epochs * steps / settings.epochs)
    if step < warmup:
        return (step + 1) / warmup
    if settings.lr_schedule == "constant":
        return 1.0
    done = (step - warmup) / max(1, steps - warmup)
    return (1 + math.cos(math.pi * done)) / 2


@torch.no_grad()
def move_average(average: nn.Module, model: nn.Module, decay: float, steps: int) -> None:
    """Move `average` towards `model` after every eighth of `steps`: at first, it forgets the beginning faster."""
    if steps % _AVERAGE_STEPS:
        return
    keep = min(decay, (1 + steps) / (10 + steps)) ** _AVERAGE_STEPS
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - keep)
    for ours, theirs in zip(average.buffers(), model.buffers(), strict=True):
        ours.copy_(theirs)
