"""What an epoch trains on: the images of the data set, and those that are drawn anew for each epoch.

In: training images, and folders of extra images and of outliers. Out: tensors on the device, and the order of an epoch
as indices into them.
"""

from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from alexnet.datasets import Images
from training import extra_images
from training.extra_images import OUTLIER, ExtraImages
from training.optim import losses
from training.settings import Settings

_NOISE: Final = 1 / 16  # of the outliers


class TrainingSet:
    """`pixels` uint8 [M, side, side, 3] and `labels` int64 [M] on `device`: `count` images of the data set, then the
    extra images of the epoch, then its outliers.

    An extra image takes the place of one of its class, so that an epoch has as many images of each class as ever.
    `class_weights` float32 [classes] are there where the settings ask for them; `teacher_logits` float32 [teachers,
    count, classes] where teachers see each image once. Raises `UserError` when a folder has no images.
    """

    def __init__(self, images: Images, classes: tuple[str, ...], settings: Settings, device: torch.device) -> None:
        self.count = len(images)
        self.steps = -(-self.count // settings.batch_size)
        self.teacher_logits: Tensor | None = None
        labels = torch.from_numpy(images.labels)
        self.class_weights = losses.class_weights(labels, len(classes)).to(device) if settings.class_weights else None
        self._extra = ExtraImages.of_classes(Path(settings.extra), classes) if settings.extra else None
        self._outliers = ExtraImages.of_none(Path(settings.outliers)) if settings.outliers else None
        self._extra_counts = self._count_extra(labels, settings.extra_share)
        self.outliers_per_step = settings.outlier_images if self._outliers else 0
        drawn = sum(self._extra_counts.values()) + self.steps * self.outliers_per_step
        self.pixels, self.labels = torch.from_numpy(images.pixels), labels  # without a copy: they may be on the disk
        if drawn:
            self.pixels = torch.cat([self.pixels, torch.zeros(drawn, *images.pixels.shape[1:]).byte()])
            self.labels = torch.cat([labels, torch.full((drawn,), OUTLIER)])
        self.pixels, self.labels = self.pixels.to(device), self.labels.to(device)

    def draw(self, seed: int) -> tuple[Tensor, Tensor | None]:
        """The order of an epoch, int64 [count], and its outliers, int64 [steps, outliers per step]; both on the CPU.

        The order comes from torch's own generator; what else is drawn depends on `seed` alone.
        """
        order = torch.randperm(self.count)
        generator = torch.Generator().manual_seed(seed)
        if self._extra:
            order = self._draw_extra(order, self._extra, generator)
        if self._outliers is None:
            return order, None
        first = len(self.pixels) - self.steps * self.outliers_per_step
        places = first + torch.randperm(len(self.pixels) - first, generator=generator)
        noisy = round(_NOISE * len(places))
        self.pixels[places[:noisy]] = extra_images.noise(noisy, generator).to(self.pixels.device)
        chosen = self._outliers.choose(OUTLIER, len(places) - noisy, generator)
        self.pixels[places[noisy:]] = self._outliers.crops(chosen, generator).to(self.pixels.device)
        return order, torch.arange(first, len(self.pixels)).view(self.steps, -1)

    def _draw_extra(self, order: Tensor, extra: ExtraImages, generator: torch.Generator) -> Tensor:
        """Fill the places of extra images, and put them into `order` for as many of their classes."""
        order, first = order.clone(), self.count
        labels = self.labels[order.to(self.labels.device)].cpu()
        for label, count in self._extra_counts.items():
            chosen = extra.choose(label, count, generator)
            places = slice(first, first + count)
            self.pixels[places] = extra.crops(chosen, generator).to(self.pixels.device)
            self.labels[places] = label
            order[(labels == label).nonzero().flatten()[:count]] = torch.arange(first, first + count)
            first += count
        return order[torch.randperm(len(order), generator=generator)]

    def _count_extra(self, labels: Tensor, share: float) -> dict[int, int]:
        """How many extra images of a class, by its label, are in an epoch."""
        if self._extra is None:
            return {}
        return {label: round(share * int((labels == label).sum())) for label in self._extra.labels.unique().tolist()}
