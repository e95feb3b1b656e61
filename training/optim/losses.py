"""Losses of a batch, in nats per image.

In: logits float32 [N, classes]. Out: float32 [N], or a scalar where a function says so.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from training.augment.basic import Mixture


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float, mixture: Mixture | None = None) -> Tensor:
    """With labels int64 [N] and label `smoothing`; of mixed images, the mean for both labels by their weights."""
    found = F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    if mixture is not None:
        others = F.cross_entropy(logits, mixture.others, label_smoothing=smoothing, reduction="none")
        found = mixture.own * found + (1 - mixture.own) * others
    return found


def distillation(
    logits: Tensor, teachers: Tensor, labels: Tensor, temperature: float, corrected: bool = False
) -> Tensor:
    """Divergence from a weighted mean of the teachers' probabilities, their logits float32 [teachers, N, classes].

    A teacher's weight for an image is the probability that it gives to the label, int64 [N], against that of the
    others (https://arxiv.org/abs/2201.00007). Other softmaxes are taken at `temperature`; its square restores the size
    of the gradients (G. Hinton, https://arxiv.org/abs/1503.02531). With `corrected`, see `correct`.
    """
    confidences = F.log_softmax(teachers, 2).gather(2, labels.expand(len(teachers), -1)[..., None])  # [teachers, N, 1]
    taught = correct(teachers, labels) if corrected else teachers
    ours, theirs = F.log_softmax(logits / temperature, 1), F.log_softmax(taught / temperature, 2)
    target = torch.logsumexp(theirs + F.log_softmax(confidences, 0), 0)
    return F.kl_div(ours, target, log_target=True, reduction="none").sum(1) * temperature**2


def correct(teachers: Tensor, labels: Tensor) -> Tensor:
    """The teachers' logits float32 [teachers, N, classes], each largest one exchanged with that of the label int64 [N].

    A teacher that mistakes an image then gives the label its confidence, and the same doubt as before
    (https://arxiv.org/abs/1911.07471).
    """
    places = labels.expand(len(teachers), -1)[..., None]
    largest, found = teachers.max(2, keepdim=True)
    return teachers.scatter(2, found, teachers.gather(2, places)).scatter(2, places, largest)


def outlier_exposure(logits: Tensor) -> Tensor:
    """A scalar: mean cross-entropy of images of none of the classes with the uniform distribution.

    Hendrycks et al., https://arxiv.org/abs/1812.04606.
    """
    return -F.log_softmax(logits, 1).mean()


def mean(losses: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    """A scalar: the mean of the images' `losses`, each times the weight of its class in `weights` float32 [classes]."""
    return (losses if weights is None else weights[labels] * losses).mean()


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """N / (classes * n) float32 [classes] for a class with n of the N `labels` int64 [N]; their mean over images is 1.

    Each class then adds the same to the loss of an epoch, however many images it has. The formula is scikit-learn's
    "balanced" (https://scikit-learn.org/stable/modules/generated/sklearn.utils.class_weight.compute_class_weight.html).
    """
    counts = torch.bincount(labels, minlength=classes).clamp(min=1)
    return len(labels) / (classes * counts.float())
