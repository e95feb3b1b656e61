"""What is exported: a checkpoint's network, and what its file will say about it.

In: a run's folder or a `.pt` file of the trainer's. Out: a `Source`.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from alexnet import datasets, environment, files
from alexnet.datasets import Cifar10, Dataset, Fingerprint, Images, cifar10
from alexnet.errors import UserError
from alexnet.inference import shrink
from alexnet.inference.classifier import Classifier
from alexnet.inference.metadata import ModelMetadata, TrainingSettings, ValidationMetrics
from training import checkpoint as checkpoints
from training import networks, run_config
from training.checkpoint import Checkpoint
from training.networks.alexnet import AlexNet, PooledAlexNet
from training.settings import Settings

NAME: Final = "alexnet-cifar10"
NAME_OF_OTHERS: Final = "alexnet"  # of models with other classes

_PARITY_IMAGES: Final = 256
_FIT_IMAGES: Final = 20_000  # training images to whose responses layers and distances are fitted
_MEASURED_IMAGES: Final = 5_000  # training images, where the run held out none


@dataclass(frozen=True)
class Source:
    """The checkpoint at `path`: its network in evaluation mode, the metadata of its file, its settings and its data."""

    path: Path
    model: AlexNet
    metadata: ModelMetadata
    settings: Settings
    trained: Fingerprint


@dataclass(frozen=True)
class FitImages:
    """Training images to fit to, images to measure on (of the training ones where none were `held_out`), and those on
    which torch and ONNX Runtime are compared.
    """

    training: Images
    measured: Images
    held_out: bool
    parity: npt.NDArray[np.uint8]

    @property
    def split(self) -> str:
        return "validation" if self.held_out else "training"


class Probabilities(nn.Module):
    """The network with softmax: what the ONNX file computes. `pixels` uint8 [N, H, W, 3] to float32 [N, classes]."""

    def __init__(self, model: AlexNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.softmax(self.model(pixels), dim=1)


def read(checkpoint: Path) -> Source:
    """Read a run's `best.pt` or a file.

    Raises `UserError` where that is impossible, on a teacher, and on a run that diverged.
    """
    path = checkpoints.resolve(checkpoint)
    saved = checkpoints.load(path)
    model = networks.build(saved.settings, len(saved.trained.classes))
    if isinstance(model, PooledAlexNet):
        raise UserError(f"{path}: the network `pooled` is small already; write it with `alexnet export`")
    if not isinstance(model, AlexNet):
        raise UserError("a teacher is not exported: it is there to train AlexNet with, by --teacher")
    model.load_state_dict(saved.weights)
    if not all(bool(value.isfinite().all()) for value in model.state_dict().values()):
        raise UserError(f"{path}: the run diverged, its weights are not finite; train again at a lower --learning-rate")
    return Source(path, model.eval(), _describe(path, saved), saved.settings, saved.trained)


def read_images(source: Source, root: Path, *, calibrated: bool) -> FitImages:
    """The images of the run. Raises `UserError` where it is not `calibrated` and they cannot calibrate it."""
    data = datasets.open(root, side=source.settings.image_size)
    data.check(source.trained, source.path)
    parity = parity_images(data)
    split = data.split_again(source.trained, source.settings.validation_images, source.settings.seed, source.path)
    training, validation = split.training, split.validation
    if not calibrated and not len(validation):
        raise UserError(
            f"{source.path} held out no images to calibrate with: give --calibration-from FILE.onnx, compressed from a "
            "run of the same settings that held out some"
        )
    if not calibrated and len(np.unique(validation.labels)) < 2:
        raise UserError("the images that the run held out are of one class: hold out more, and train again")
    measured = validation if len(validation) else _first(training, _MEASURED_IMAGES)
    return FitImages(_first(training, _FIT_IMAGES), measured, len(validation) > 0, parity)


def parity_images(data: Dataset) -> npt.NDArray[np.uint8]:
    """Real training images, and the two extremes: uint8 [256 + 2, H, W, 3]; fewer where one's own are fewer."""
    real = data.sample(_PARITY_IMAGES)
    if len(real) < _PARITY_IMAGES and isinstance(data, Cifar10):
        raise UserError(f"{data.root} has {len(real)} training images; the check of the export needs {_PARITY_IMAGES}")
    return np.concatenate([real, np.zeros_like(real[:1]), np.full_like(real[:1], 255)])


def read_calibration(path: Path, trained: Fingerprint) -> ModelMetadata:
    """The metadata of the file of an earlier run. Raises `UserError` where they do not say what is needed."""
    metadata = Classifier(path).metadata
    if metadata.classes != trained.classes:
        raise UserError(f"--calibration-from {path}: it has other classes than this run")
    if metadata.compression is None or metadata.compression.ood.offset is None or metadata.rank is None:
        raise UserError(f"--calibration-from {path}: it does not state its calibration; compress its run again")
    return metadata


def _describe(path: Path, saved: Checkpoint) -> ModelMetadata:
    """What the file says about itself: classes, where its weights are from, and the versions that made it."""
    last = saved.epochs[-1] if saved.epochs else None  # of the weights in this file, in best.pt and last.pt alike
    is_measured = last is not None and last.validation_loss is not None
    settings, trained = saved.settings, saved.trained
    config = run_config.find(path.parent)
    return ModelMetadata(
        name=NAME if trained.classes == cifar10.CLASSES else NAME_OF_OTHERS,
        classes=trained.classes,
        input_size=settings.input_size,
        resize_filter=shrink.FILTER.name,
        init_sha256=config.init_sha256 if config else None,
        teacher_sha256=config.teacher_sha256 if config and config.teacher_sha256 else None,
        run=path.resolve().parent.name,
        checkpoint_sha256=files.sha256(path),
        settings=TrainingSettings(**settings.model_dump()),
        validation=ValidationMetrics(**dataclasses.asdict(last)) if last and is_measured else None,
        exported_with=environment.describe("torch", "onnx", "onnxscript"),
        image_folder_sha256=trained.sha256,
    )


def _first(images: Images, count: int) -> Images:
    return images.take(np.arange(min(count, len(images))))
