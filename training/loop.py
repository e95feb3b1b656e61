"""One pass over the training images, and one over the validation images.

In: a model, `Settings`, and images on the model's device. Out: mean loss in nats per image, and accuracy. A batch is
one tensor index; nothing waits for the device before the end of a pass. On a single GPU, a training step is one CUDA
graph (cuda_graph.py); on a CPU, wide layers are updated without writing their gradients (lazy_low_rank_sgd.py).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.augment import fractals
from training.augment.basic import Augment, Mixture
from training.augment.robust import RobustAugment
from training.distillation import Teachers
from training.distributed import Processes
from training.optim import ema, lazy_low_rank_sgd, losses, schedule
from training.optim.cuda_graph import CapturedStep
from training.optim.lazy_low_rank_sgd import LazyLayers
from training.settings import Settings
from training.training_set import TrainingSet

ALONE: Final = Processes()
_FRACTALS: Final = 256


@dataclass
class Training:
    """The steps of a run: `model` is what they update, `ema` its moving average."""

    settings: Settings
    model: nn.Module
    optimizer: torch.optim.SGD
    images: TrainingSet
    autocast: torch.autocast
    group: Processes = ALONE
    ema: nn.Module | None = None
    teachers: Teachers | None = None

    def __post_init__(self) -> None:
        device = self.images.labels.device
        self._engine = self.group.together(self.model)
        self._augment, self._robust = Augment(), RobustAugment(device=device)
        self._fractals = self._draw_fractals(device)
        self._summed_loss, self._correct = _counters(device)
        self._step: Callable[[Tensor], None] = self._do
        self._lazy: LazyLayers | None = None
        if device.type == "cuda" and self.group.count == 1:
            schedule.keep_on(device, self.optimizer)
            if self.teachers is None or self.teachers.recordable:
                size = self.settings.batch_size + self.images.outliers_per_step
                self._step = CapturedStep(self._do, size, device)

    def epoch(self, number: int, advance: Callable[[], None]) -> tuple[float, float]:
        """Pass `number`, from 1, in random order; returns mean loss and accuracy.

        All its randomness (order, augmentation, dropout) is seeded by the run's seed and `number`. All processes draw
        the same order and the same augmentation of a whole batch; each computes its part of it.
        """
        settings, group, device = self.settings, self.group, self.images.labels.device
        seed = settings.seed * 1_000_003 + number
        torch.manual_seed(seed)
        order, outliers = self.images.draw(seed)
        batches = order.to(device).split(settings.batch_size)
        if outliers is not None:
            batches = tuple(torch.cat(both) for both in zip(batches, outliers.to(device), strict=True))
        self._seed_augmentation(seed)
        self._summed_loss.zero_()
        self._correct.zero_()
        self.model.train()
        with self._lazy_layers():
            for step, indices in enumerate(batches, (number - 1) * len(batches)):
                schedule.set_learning_rate(self.optimizer, settings, step, settings.epochs * len(batches))
                self._step(indices)
                if self.ema:
                    ema.update(self.ema, self.model, settings.ema_decay, step + 1)
                advance()
        group.add_up(self._summed_loss, self._correct)
        return self._summed_loss.item() / len(order), self._correct.item() / len(order)

    def _seed_augmentation(self, seed: int) -> None:
        settings, device = self.settings, self.images.labels.device
        generator = None  # torch's own, dropout's too
        if self.group.count > 1:
            generator = torch.Generator(device).manual_seed(seed)
            if device.type == "cpu":
                torch.randperm(self.images.count, generator=generator)  # where a lone process's generator is by now
            self.group.seed_dropout(seed)
        self._augment = Augment(
            settings.horizontal_flip, settings.random_crop, settings.cutout, settings.mixup, generator
        )
        self._robust = RobustAugment(
            settings.resized_crop, settings.degraded, settings.fractals, self._fractals, device, generator
        )

    def _draw_fractals(self, device: torch.device) -> Tensor | None:
        if not self.settings.fractals:
            return None
        drawn = fractals.draw(_FRACTALS, self.images.pixels.shape[1], self.settings.seed)
        return torch.from_numpy(drawn).to(device)

    @contextmanager
    def _lazy_layers(self) -> Iterator[None]:
        """Where it pays and can be done, the wide layers are taken from the optimiser for the time of a pass."""
        if self.images.labels.device.type != "cpu" or self.group.count > 1 or self.ema:
            yield
            return
        dtype = torch.bfloat16 if self.autocast._enabled else torch.float32
        with lazy_low_rank_sgd.wide_layers(self.model, self.optimizer, dtype) as self._lazy:
            yield
        self._lazy = None

    def _do(self, indices: Tensor) -> None:
        """A step with the images at `indices` int64 [n + outliers]."""
        count = len(indices) - self.images.outliers_per_step
        own, outliers = indices[:count], indices[count:]
        labels = self.images.labels[own]
        pixels, mixture = self._augment.mix(self._change(self.images.pixels[own]), labels)
        taught = self._clean_teacher_logits(own, mixture)
        mine, weight = self.group.share(torch.arange(count, device=indices.device))
        pixels, labels, mixture = pixels[mine], labels[mine], mixture.take(mine) if mixture else None
        other_pixels, other_weight = pixels[:0], 0.0
        if len(outliers):
            theirs, other_weight = self.group.share(torch.arange(len(outliers), device=indices.device))
            other_pixels = self._change(self.images.pixels[outliers])[theirs]
        with self.autocast:  # left before the next step: it caches the weights' bf16 copies until then
            logits = self._engine(torch.cat([pixels, other_pixels]) if len(outliers) else pixels)
            if self.teachers:
                taught = self.teachers(pixels)
            elif taught is not None:
                taught = taught[:, mine]
        logits, other_logits = logits[: len(pixels)], logits[len(pixels) :]
        loss = self._loss(logits, labels, mixture, taught, own[mine]) * weight
        if len(outliers):
            loss = loss + self.settings.outlier_weight * other_weight * losses.outlier_exposure(other_logits)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        if self._lazy:
            self._lazy.step()
        self._summed_loss += loss.detach().double() * count / self.group.count
        if weight:
            self._correct += (logits.detach().argmax(1) == labels).sum()

    def _change(self, pixels: Tensor) -> Tensor:
        """All augmentation but mixup."""
        settings = self.settings
        pixels = self._augment(pixels)
        is_robust = settings.resized_crop < 1 or settings.degraded or settings.fractals
        return self._robust(pixels) if is_robust else pixels

    def _clean_teacher_logits(self, indices: Tensor, mixture: Mixture | None) -> Tensor | None:
        """What teachers said of these images as they are, float32 [teachers, n, classes]; of mixed ones, mixed."""
        table = self.images.teacher_logits
        if table is None:
            return None
        found = table[:, indices.clamp(max=self.images.count - 1)]  # of extra images nothing is known: see `_loss`
        if mixture is None:
            return found
        probabilities, own = found.softmax(2), mixture.own[:, None]
        return (own * probabilities + (1 - own) * probabilities.roll(-1, 1)).log()

    def _loss(
        self, logits: Tensor, labels: Tensor, mixture: Mixture | None, taught: Tensor | None, indices: Tensor
    ) -> Tensor:
        """The mean loss of images of the classes."""
        found = losses.cross_entropy(logits, labels, self.settings.label_smoothing, mixture)
        if taught is not None:
            settings = self.settings
            extra = settings.distill_weight if settings.extra_distill_weight is None else settings.extra_distill_weight
            if self.images.teacher_logits is not None:
                extra = 0  # nothing is known of them
            share = torch.where(indices < self.images.count, settings.distill_weight, extra)
            corrected = settings.teacher_corrected and mixture is None  # a mixed image has two labels
            distilled = losses.distillation(logits, taught, labels, settings.distill_temperature, corrected)
            found = (1 - share) * found + share * distilled
        return losses.mean(found, labels, self.images.class_weights)


@torch.inference_mode()
def validate(
    model: nn.Module,
    images: tuple[Tensor, Tensor],
    batch_size: int,
    autocast: torch.autocast,
    advance: Callable[[], None],
    group: Processes = ALONE,
) -> tuple[float, float]:
    """Mean loss and accuracy over `images` (pixels and labels), each image counting the same.

    Whole batches go round the processes in turn.
    """
    model.eval()
    all_pixels, all_labels = images
    summed_loss, correct = _counters(all_labels.device)
    batches = zip(all_pixels.split(batch_size), all_labels.split(batch_size), strict=True)
    for number, (pixels, labels) in enumerate(batches):
        advance()
        if number % group.count != group.rank:
            continue
        with autocast:
            logits = model(pixels)
        summed_loss += F.cross_entropy(logits.double(), labels, reduction="sum")
        correct += (logits.argmax(1) == labels).sum()
    group.add_up(summed_loss, correct)
    return summed_loss.item() / len(all_labels), correct.item() / len(all_labels)


def _counters(device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.zeros((), dtype=torch.float64, device=device), torch.zeros((), dtype=torch.int64, device=device)
