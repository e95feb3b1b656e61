"""A run to TensorBoard: one event file in the run's folder. The only import of tensorboard (extra `tensorboard`).

In: the settings of a run and its epochs as rows. Out: `events.out.tfevents.*` with the scalars of each epoch (step: the
epoch, from 1) and the settings as hyperparameters. A process that continues a run writes the file anew, from all rows,
so that no epoch is missing and none is there twice, whatever ended the process before.
"""

import importlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

# What a row calls it, and what TensorBoard does: what shares the word before the slash is shown side by side.
TAGS: Final = {
    "training_loss": "loss/training",
    "validation_loss": "loss/validation",
    "training_accuracy": "accuracy/training",
    "validation_accuracy": "accuracy/validation",
    "learning_rate": "learning_rate",
    "seconds": "seconds",
}
_PATTERN: Final = "events.out.tfevents.*"


class Events:
    """The event file of one run, open from the first `send` to `end`."""

    name: Final = "TensorBoard"

    def __init__(self) -> None:
        """Raises `ImportError` where tensorboard is not installed."""
        self._torch: Any = importlib.import_module("torch.utils.tensorboard")
        self._writer: Any = None
        self._epochs = 0
        self._clock = 0.0  # when the last epoch that was sent ended, in seconds as of time.time

    def send(self, folder: Path, config: Mapping[str, Any], rows: Sequence[Mapping[str, float]]) -> None:
        """Write the rows that are not in the file yet."""
        if self._writer is None:
            for old in folder.glob(_PATTERN):
                old.unlink()
            self._clock = time.time() - sum(row["seconds"] for row in rows)
            # A TensorBoard that is looking forgets what the old file said of these steps.
            self._writer = self._torch.SummaryWriter(str(folder), purge_step=1)
            for summary in self._torch.summary.hparams(config["settings"], dict.fromkeys(TAGS.values(), 0.0)):
                self._writer.file_writer.add_summary(summary)
        for row in rows[self._epochs :]:
            self._clock += row["seconds"]
            for name, tag in TAGS.items():
                if name in row:
                    self._writer.add_scalar(tag, row[name], int(row["epoch"]), self._clock)
            self._epochs += 1
        self._writer.flush()

    def end(self, folder: Path, status: str) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
