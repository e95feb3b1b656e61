"""A run to TensorBoard: event files in the run's folder. The only import of tensorboard (extra `tensorboard`).

In: the settings of a run and the metrics of each epoch. Out: `events.out.tfevents.*` with the scalars of each epoch
(step: the epoch, from 1) and the settings as hyperparameters. A process that resumes a run adds a file of its own.
"""

import dataclasses
import importlib
from pathlib import Path
from typing import Any, Final

from training.checkpoint import EpochMetrics
from training.run_config import RunConfig

# The name of a metric, and its tag: what shares the word before the slash is shown side by side.
TAGS: Final = {
    "training_loss": "loss/training",
    "validation_loss": "loss/validation",
    "training_accuracy": "accuracy/training",
    "validation_accuracy": "accuracy/validation",
    "learning_rate": "learning_rate",
    "seconds": "seconds",
}


class TensorBoard:
    """The event file of one process. Raises `ImportError` where tensorboard is not installed."""

    def __init__(self) -> None:
        self.name = "TensorBoard"
        self._torch: Any = importlib.import_module("torch.utils.tensorboard")
        self._writer: Any = None

    def begin(self, folder: Path, config: RunConfig, epochs_before: int) -> None:
        """Open a file; epochs after `epochs_before` in older files are hidden."""
        self._writer = self._torch.SummaryWriter(str(folder), purge_step=epochs_before + 1)
        plain = (bool, int, float, str)
        settings = {name: value if isinstance(value, plain) else str(value) for name, value in config.settings.items()}
        for summary in self._torch.summary.hparams(settings, dict.fromkeys(TAGS.values(), 0.0)):
            self._writer.file_writer.add_summary(summary)
        self._writer.flush()

    def log(self, epoch: EpochMetrics) -> None:
        """Write the scalars of an epoch; those that were not measured are left out."""
        for name, value in dataclasses.asdict(epoch).items():
            if name in TAGS and value is not None:
                self._writer.add_scalar(TAGS[name], value, epoch.epoch)
        self._writer.flush()

    def end(self, folder: Path, status: str) -> None:
        """Close the file."""
        self._writer.close()
