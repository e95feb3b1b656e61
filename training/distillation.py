"""The teachers of a run: networks whose logits AlexNet learns beside the labels.

In: checkpoints of `alexnet train` and ONNX files, all for the same classes. Out: logits float32 [teachers, N, classes]
for pixels uint8 [N, 32, 32, 3]. An ONNX file gives the logarithms of its probabilities, which a softmax takes for its
logits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
import torch
from torch import Tensor

from alexnet.datasets import Fingerprint
from alexnet.errors import UserError
from alexnet.inference.classifier import Classifier
from training import checkpoint, networks
from training.settings import Settings

_SMALLEST: Final = 1e-8  # probability, before the logarithm
_BATCH: Final = 256


@dataclass(frozen=True)
class Teachers:
    """`networks` take pixels and give logits; with `flipped`, they see mirror images too.

    One is then asked for each image and its mirror image, and the mean of the logits counts. Of several, every other
    one sees the mirror images only, which takes half of the time. `recordable` says whether a CUDA graph can hold them.
    """

    networks: Sequence[Callable[[Tensor], Tensor]]
    flipped: bool
    recordable: bool

    @classmethod
    def load(cls, settings: Settings, trained: Fingerprint, device: torch.device) -> Self | None:
        """Those that `settings` name; None where it names none.

        Raises `UserError` on one of other classes or data than `trained`, or that has seen images which this run
        validates on.
        """
        if not settings.teacher:
            return None
        files, runs = ([path for path in settings.teacher if path.endswith(".onnx") == onnx] for onnx in (True, False))
        found = [_from_onnx(path, settings, trained) for path in files]
        found += [_from_run(path, settings, trained, device) for path in runs]
        return cls(found, settings.horizontal_flip, recordable=not files)

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Tensor:
        if not self.flipped:
            return torch.stack([network(pixels) for network in self.networks])
        mirrored = pixels.flip(2)
        if len(self.networks) == 1:
            return (self.networks[0](pixels) + self.networks[0](mirrored))[None] / 2
        return torch.stack([network((pixels, mirrored)[n % 2]) for n, network in enumerate(self.networks)])

    @torch.no_grad()
    def ask_once(self, pixels: Tensor, autocast: torch.autocast) -> Tensor:
        """The logits for many images, in batches."""
        with autocast:
            return torch.cat([self(batch) for batch in pixels.split(_BATCH)], 1)


def check_unseen(flag: str, given: str, theirs: Settings | tuple[int, int], settings: Settings) -> None:
    """Raise `UserError` when weights were trained, on the same data, with images that `settings` validate on.

    `theirs` are the settings of that run, or its seed and number of validation images.
    """
    seed, held_out = (theirs.seed, theirs.validation_images) if isinstance(theirs, Settings) else theirs
    if settings.validation_images and (seed != settings.seed or held_out < settings.validation_images):
        raise UserError(
            f"{flag} {given}: it was trained on images that this run validates on; train one with "
            f"--seed {settings.seed} --validation-images {settings.validation_images}"
        )


def _from_run(path: str, settings: Settings, trained: Fingerprint, device: torch.device) -> Callable[[Tensor], Tensor]:
    saved = checkpoint.load(Path(path))
    if saved.trained != trained:
        raise UserError(
            f"--teacher {path}: it was trained on other classes or images; train one on the same data with "
            "--recipe teacher"
        )
    check_unseen("--teacher", path, saved.settings, settings)
    network = networks.build(saved.settings, len(trained.classes))
    network.load_state_dict(saved.weights)
    return network.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)


def _from_onnx(path: str, settings: Settings, trained: Fingerprint) -> Callable[[Tensor], Tensor]:
    classifier = Classifier.load(path)
    metadata = classifier.metadata
    if metadata.classes != trained.classes or metadata.image_folder_sha256 != trained.sha256:
        raise UserError(f"--teacher {path}: it was trained on other classes or images")
    if metadata.settings is not None:
        seed, held_out = metadata.settings.seed, metadata.settings.validation_images
        check_unseen("--teacher", path, (seed, held_out), settings)

    def ask(pixels: Tensor) -> Tensor:
        probabilities = classifier.run(np.ascontiguousarray(pixels.cpu().numpy())).probabilities
        return torch.from_numpy(probabilities).clamp(min=_SMALLEST).log().to(pixels.device)

    return ask
