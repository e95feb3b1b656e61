"""Checkpoints: the weights of a run and what is needed to resume it, as a file that only data can be in.

In and out: a `Checkpoint`. `last.pt` has all of its fields, `best.pt` no optimiser state. Files are whole or not there.
"""

import dataclasses
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import torch
from torch import Tensor

from alexnet import files
from alexnet.datasets import Fingerprint
from alexnet.errors import UserError
from training.settings import Settings

BEST: Final = "best.pt"
LAST: Final = "last.pt"
_REQUIRED: Final = {"model", "settings", "classes", "epochs"}


@dataclass(frozen=True)
class EpochMetrics:
    """One epoch: losses are means in nats per image, accuracies from 0 to 1, `learning_rate` is that of the last step.

    The training metrics are means over the epoch, while the weights change, of the loss that is minimised (with label
    smoothing, distillation and augmentation). The validation metrics are the plain cross-entropy and accuracy of the
    weights at the end of the epoch, or of their EMA; None where no images are held out.
    """

    epoch: int
    training_loss: float
    training_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    seconds: float
    learning_rate: float


@dataclass(frozen=True)
class Checkpoint:
    """`model`, `ema` and `optimizer` are state dicts; `epochs` are the metrics of all epochs up to these weights."""

    model: dict[str, Tensor]
    settings: Settings
    trained: Fingerprint
    epochs: tuple[EpochMetrics, ...]
    optimizer: dict[str, Any] | None = None
    ema: dict[str, Tensor] | None = None

    @property
    def weights(self) -> dict[str, Tensor]:
        """Those that were validated: the averaged ones of a run that has both."""
        return self.ema or self.model

    def copied(self) -> "Checkpoint":
        """The same with copies of its tensors on the CPU, which training does not change."""
        parts = {name: _copy(getattr(self, name)) for name in ("model", "optimizer", "ema")}
        return dataclasses.replace(self, **parts)


def resolve(path: Path) -> Path:
    """The file that `path` means: of a run's folder, its best checkpoint."""
    return path / BEST if path.is_dir() else path


def load(path: Path) -> Checkpoint:
    """Read a checkpoint, or the best one of a run's folder. Raises `UserError` when it is absent or damaged."""
    path = resolve(path)
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; give the folder of a run or one of its .pt files") from error
    except Exception as error:  # torch raises many types for a damaged file
        raise UserError(f"{path}: damaged ({type(error).__name__}); give another checkpoint, or train again") from error
    if not isinstance(saved, dict) or not saved.keys() >= _REQUIRED:
        raise UserError(f"{path}: not a checkpoint of `alexnet train`")
    return Checkpoint(
        saved["model"],
        Settings.from_dict(saved["settings"]),
        Fingerprint.of(saved),
        tuple(EpochMetrics(**epoch) for epoch in saved["epochs"]),
        saved.get("optimizer"),
        saved.get("ema"),
    )


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` under `path`, all or nothing. Raises `UserError` when the disk is full."""
    content = {
        "model": checkpoint.model,
        "settings": checkpoint.settings.model_dump(mode="json"),
        **checkpoint.trained.to_dict(),
        "epochs": [dataclasses.asdict(epoch) for epoch in checkpoint.epochs],
        **({} if checkpoint.optimizer is None else {"optimizer": checkpoint.optimizer}),
        **({} if checkpoint.ema is None else {"ema": checkpoint.ema}),
    }
    try:
        with files.replacing(path) as partial:
            torch.save(content, partial)
    except (OSError, RuntimeError) as error:  # torch raises RuntimeError when the disk is full
        raise UserError(
            f"{path}: could not be written (disk full?): make room, then continue with --resume {path.parent}"
        ) from error


class BackgroundWriter:
    """Runs functions in a thread of its own, one at a time and in order. As a context, it ends when all are done.

    What a function raises is raised where the next one is given, or at the end.
    """

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._pending: Future[None] | None = None

    def submit(self, work: Callable[[], None]) -> None:
        """Start `work` when the one before is done. Raises what that raised."""
        self._wait()
        self._pool = self._pool or ThreadPoolExecutor(1)
        self._pending = self._pool.submit(work)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._wait()
        finally:
            if self._pool:
                self._pool.shutdown()
                self._pool = None

    def _wait(self) -> None:
        pending, self._pending = self._pending, None
        if pending:
            pending.result()


def _copy(content: Any) -> Any:
    """`content`, of dicts and lists, with copies of its tensors on the CPU."""
    if isinstance(content, Tensor):
        return content.to("cpu", copy=True)
    if isinstance(content, dict):
        return {key: _copy(value) for key, value in content.items()}
    return [_copy(value) for value in content] if isinstance(content, list) else content
