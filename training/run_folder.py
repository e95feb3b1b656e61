"""The folder of a run: config.json, metrics.csv and checkpoints, written by one process at a time.

In: the state of a run after each epoch. Out: `config.json` (settings and provenance), `metrics.csv` (a row per epoch),
`last.pt` (all that resuming needs) and `best.pt` (the weights of the epoch with the highest validation accuracy, of the
last one where none is measured).
"""

import dataclasses
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import torch

from alexnet import environment, files
from alexnet.errors import UserError
from training import checkpoint, device, run_config
from training.checkpoint import BEST, LAST, Checkpoint, EpochMetrics
from training.run_config import RunConfig
from training.settings import Settings

_METRICS: Final = "metrics.csv"
_LOCK: Final = ".lock"
_OURS: Final = {run_config.FILE, _LOCK}  # what a run leaves that was stopped before its first checkpoint


def check_free(folder: Path) -> None:
    """Raise `UserError` when `folder` holds a run or other files."""
    if (folder / LAST).exists():
        raise UserError(f"{folder} has a run already: continue it with --resume {folder}, or give another --output")
    if folder.exists() and any(item.name not in _OURS and item.suffix != ".part" for item in folder.iterdir()):
        raise UserError(f"{folder} holds other files: give another --output")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only process that writes `folder`, which is made when absent. Raises `UserError` when another does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{folder}: another training is writing it; give another --output") from error
        yield


def remove_partial(folder: Path) -> None:
    """Remove what a process left that was killed while it wrote."""
    for leftover in folder.glob(".*.part"):
        leftover.unlink()


def describe(folder: Path, settings: Settings, where: torch.device) -> RunConfig:
    """What `config.json` says of a run in `folder` that computes on the device `where`."""
    init, teachers = Path(settings.init), [Path(teacher) for teacher in settings.teacher]
    return RunConfig(
        run=folder.name,
        settings=settings.without_paths(),
        init_sha256=files.sha256(init) if init.is_file() else None,
        teacher_sha256=tuple(files.sha256(teacher) for teacher in teachers if teacher.is_file()),
        device=where.type,
        precision=device.precision(settings, where),
        environment=environment.describe("torch", "torchvision", "numpy") | device.describe(where),
    )


def ensure_config(folder: Path, settings: Settings, where: torch.device) -> RunConfig:
    """The configuration of the run in `folder`, written anew where it went with the old folder."""
    if not (folder / run_config.FILE).exists():
        describe(folder, settings, where).write(folder)
    return run_config.read(folder)


def save(folder: Path, state: Checkpoint, *, is_best: bool) -> None:
    """Write checkpoints and tables of the run whose `state` this is.

    The best weights come first: a run that is killed in between repeats the epoch and writes the same file again.
    """
    if is_best:
        best = dataclasses.replace(state, model=state.ema or state.model, optimizer=None, ema=None)
        checkpoint.save(folder / BEST, best)
    checkpoint.save(folder / LAST, state)
    _write_epochs(folder, state.settings.epochs)
    write_metrics(folder, state.epochs)


def write_metrics(folder: Path, epochs: tuple[EpochMetrics, ...]) -> None:
    """Write `metrics.csv`."""
    header = [item.name for item in dataclasses.fields(EpochMetrics)]
    files.write_csv(folder / _METRICS, header, [dataclasses.astuple(epoch) for epoch in epochs])


def _write_epochs(folder: Path, epochs: int) -> None:
    """Let `config.json` have the number of epochs that a resumed run was given."""
    config = run_config.read(folder)
    if config.settings["epochs"] != epochs:
        config.model_copy(update={"settings": {**config.settings, "epochs": epochs}}).write(folder)
