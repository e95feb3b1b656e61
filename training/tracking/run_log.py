"""A run to where people watch runs, while it is trained: TensorBoard and MLflow.

In: the configuration of a run, the metrics of each epoch as it ends, and the ONNX file that `export` made. Out: the
trackers' own files and runs. A tracker that fails costs its own numbers, never the training.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from alexnet.errors import UserError
from training import run_config
from training.checkpoint import EpochMetrics
from training.distributed import is_first
from training.run_config import RunConfig
from training.tracking.mlflow import MlflowRun, reason
from training.tracking.tensorboard import TensorBoard

Status = Literal["FINISHED", "FAILED", "KILLED"]


class Tracker(Protocol):
    """What follows one run. Any method may raise anything."""

    name: str

    def begin(self, folder: Path, config: RunConfig, epochs_before: int) -> None:
        """Start, or continue after `epochs_before`, the run in `folder`."""

    def log(self, epoch: EpochMetrics) -> None:
        """Keep the metrics of an epoch."""

    def end(self, folder: Path, status: Status) -> None:
        """Say how the run ended."""


@dataclass
class RunLog:
    """All trackers of a run; one that fails is told of in one line and left out from then on."""

    trackers: list[Tracker] = field(default_factory=list)
    _folder: Path | None = None

    def begin(self, folder: Path, config: RunConfig, epochs_before: int) -> None:
        """Tell the trackers of a run that starts or resumes."""
        self._folder = folder
        self._each(lambda tracker: tracker.begin(folder, config, epochs_before))

    def log(self, epoch: EpochMetrics) -> None:
        """Tell them of an epoch."""
        self._each(lambda tracker: tracker.log(epoch))

    def end(self, status: Status) -> None:
        """Tell them how it ended."""
        if self._folder is not None:
            folder = self._folder
            self._each(lambda tracker: tracker.end(folder, status))

    def _each(self, work: Callable[[Tracker], None]) -> None:
        for tracker in tuple(self.trackers):
            try:
                work(tracker)
            except Exception as error:  # whatever it is, the training is worth more
                self.trackers.remove(tracker)
                text = f"{tracker.name} failed ({reason(error)}); training continues without it"
                print(f"alexnet: {text}", file=sys.stderr)


@contextmanager
def tracking(*, tensorboard: bool, mlflow: str | None) -> Iterator[RunLog]:
    """The log of a run. Of the processes that torchrun starts, only the first tracks.

    Raises `UserError` when a package is missing or `mlflow`, an address, cannot be used.
    """
    log = RunLog()
    if is_first():
        log.trackers += [TensorBoard()] if tensorboard else []
        log.trackers += [MlflowRun(mlflow)] if mlflow is not None else []
    status: Status = "FAILED"
    try:
        yield log
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        log.end(status)


def model_logger(checkpoint: Path, mlflow: str | None, name: str | None) -> Callable[[Path], None]:
    """What puts the ONNX file that `checkpoint` became into MLflow; what it needs is checked before the work.

    `name` is that of a registered model. Without `mlflow` nothing is done. Raises `UserError` when `mlflow` cannot be
    used, or `checkpoint` is in no folder of a run.
    """
    if mlflow is None:
        if name is not None:
            raise UserError("--register needs --mlflow URI, the store to register in")
        return lambda model: None
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    config, run = run_config.read(folder), MlflowRun(mlflow)

    def log(model: Path) -> None:
        try:
            print(f"MLflow: {run.log_model(folder, config, model, name)}")
        except Exception as error:
            raise UserError(f"{model} is written, but not in MLflow ({reason(error)}); repeat the command") from error

    return log
