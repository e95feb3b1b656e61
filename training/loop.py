"""One pass over the training images, and one over the validation images.

In: a model, `Settings`, images as `Tensors` on the model's device. Out: mean loss in nats an image, and accuracy. A
batch is one tensor index; nothing waits for the device before the end of a pass. On a GPU of its own, a step of
training is one CUDA graph (captured.py); on a CPU, wide layers are moved without writing their gradients (deferred.py).
"""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet.datasets import Images
from training.distributed import Processes
from training.networks.teacher import Teacher
from training.optim import lazy_low_rank_sgd, optimise
from training.optim.augment import Augment
from training.optim.cuda_graph import Captured
from training.optim.lazy_low_rank_sgd import Deferred
from training.settings import Settings

ALONE: Final = Processes()


@dataclass(frozen=True)
class Tensors:
    """Images on the device that computes: pixels uint8 [N, 32, 32, 3], labels int64 [N], perhaps float32 [classes]."""

    pixels: Tensor
    labels: Tensor
    class_weights: Tensor | None = None

    @classmethod
    def of(cls, images: Images, device: torch.device) -> "Tensors":
        """`images` on `device`."""
        return cls(torch.from_numpy(images.pixels).to(device), torch.from_numpy(images.labels).to(device))

    def weighted(self, classes: int) -> "Tensors":
        """The same with weights that let each of `classes` count alike."""
        return dataclasses.replace(self, class_weights=optimise.class_weights(self.labels, classes))


@dataclass
class Training:
    """All that the steps of a run need: the `model` that they move, and what else they look at or move."""

    settings: Settings
    model: nn.Module
    optimizer: torch.optim.SGD
    images: Tensors
    autocast: torch.autocast
    group: Processes = ALONE
    average: nn.Module | None = None
    teacher: Teacher | None = None

    def __post_init__(self) -> None:
        device = self.images.labels.device
        self._engine = self.group.together(self.model)
        self._augment = Augment()
        self._summed_loss, self._correct = _counters(device)
        self._step: Callable[[Tensor], None] = self._do
        self._deferred: Deferred | None = None
        if device.type == "cuda" and self.group.count == 1:
            optimise.keep_rates_on(device, self.optimizer)
            self._step = Captured(self._do, self.settings.batch_size, device)

    def epoch(self, number: int, advance: Callable[[], None]) -> tuple[float, float]:
        """Pass `number`, from 1, in random order; returns mean loss and accuracy.

        All its randomness (order, changes of the images, dropout) is seeded by the run's seed and `number`. All
        processes draw the same order and the same changes of a whole batch; each computes its part of it.
        """
        settings, group, device = self.settings, self.group, self.images.labels.device
        seed = settings.seed * 1_000_003 + number
        torch.manual_seed(seed)
        order = torch.randperm(len(self.images.labels)).to(device)
        drawing = None  # torch's own generator, dropout's too
        if group.count > 1:
            drawing = torch.Generator(device).manual_seed(seed)
            if device.type == "cpu":
                torch.randperm(len(order), generator=drawing)  # where the generator of a lone process stands by now
            group.seed_dropout(seed)
        self._augment = Augment(
            settings.horizontal_flip, settings.random_crop, settings.cutout, settings.mixup, drawing
        )
        self._summed_loss.zero_()
        self._correct.zero_()
        self.model.train()
        batches = order.split(settings.batch_size)
        with self._wide_layers():
            for step, indices in enumerate(batches, (number - 1) * len(batches)):
                optimise.set_rate(self.optimizer, settings, step, settings.epochs * len(batches))
                self._step(indices)
                if self.average:
                    optimise.move_average(self.average, self.model, settings.ema_decay, step + 1)
                advance()
        group.add_up(self._summed_loss, self._correct)
        return self._summed_loss.item() / len(order), self._correct.item() / len(order)

    @contextmanager
    def _wide_layers(self) -> Iterator[None]:
        """Where it pays and can be done, the wide layers are not the optimiser's for the time of a pass."""
        if self.images.labels.device.type != "cpu" or self.group.count > 1 or self.average:
            yield
            return
        dtype = torch.bfloat16 if self.autocast._enabled else torch.float32
        with lazy_low_rank_sgd.wide_layers(self.model, self.optimizer, dtype) as self._deferred:
            yield
        self._deferred = None

    def _do(self, indices: Tensor) -> None:
        """A step with the images at `indices` int64 [n]."""
        images = self.images
        mine, weight = self.group.share(torch.arange(len(indices), device=indices.device))
        labels = images.labels[indices]
        pixels, mixture = self._augment.mix(self._augment(images.pixels[indices]), labels)
        pixels, labels, mixture = pixels[mine], labels[mine], mixture.take(mine) if mixture else None
        with self.autocast:  # left before the next step: it caches the weights' bf16 copies until then
            logits = self._engine(pixels)
            taught = _ask(self.teacher, pixels, self.settings.horizontal_flip)
        loss = optimise.loss(logits, labels, taught, self.settings, images.class_weights, mixture) * weight
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        if self._deferred:
            self._deferred.step()
        self._summed_loss += loss.detach().double() * len(indices) / self.group.count
        if weight:
            self._correct += (logits.detach().argmax(1) == labels).sum()


@torch.inference_mode()
def validate(
    model: nn.Module,
    images: Tensors,
    batch_size: int,
    autocast: torch.autocast,
    advance: Callable[[], None],
    group: Processes = ALONE,
) -> tuple[float, float]:
    """Mean loss and accuracy over `images`, counted by image, so that a smaller last batch weighs what it holds.

    Whole batches go round the processes in turn.
    """
    model.eval()
    summed_loss, correct = _counters(images.labels.device)
    batches = zip(images.pixels.split(batch_size), images.labels.split(batch_size), strict=True)
    for number, (pixels, labels) in enumerate(batches):
        advance()
        if number % group.count != group.rank:
            continue
        with autocast:
            logits = model(pixels)
        summed_loss += F.cross_entropy(logits.double(), labels, reduction="sum")
        correct += (logits.argmax(1) == labels).sum()
    group.add_up(summed_loss, correct)
    return summed_loss.item() / len(images.labels), correct.item() / len(images.labels)


@torch.no_grad()
def _ask(teacher: Teacher | None, pixels: Tensor, flip: bool) -> Tensor | None:
    """The teacher's logits; where images are mirrored at random, the mean for both views, which is right more often."""
    if teacher is None:
        return None
    answer: Tensor = teacher(pixels)
    return (answer + teacher(pixels.flip(2))) / 2 if flip else answer


def _counters(device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.zeros((), dtype=torch.float64, device=device), torch.zeros((), dtype=torch.int64, device=device)
