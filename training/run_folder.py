"""The folder of a run: config.json, metrics.csv and checkpoints, written by one process at a time.

In: the state of a run after each epoch. Out: `config.json` (settings and provenance), `metrics.csv` (a row per epoch),
`last.pt` (all that resuming needs) and `best.pt` (the weights of the epoch with the highest validation accuracy, of the
last one where none is measured).
"""

import dataclasses
import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch

from alexnet import environment, files
from alexnet.errors import UserError
from training import checkpoint, device
from training.checkpoint import BEST, LAST, Checkpoint, EpochMetrics
from training.settings import Settings

_CONFIG: Final = "config.json"
_METRICS: Final = "metrics.csv"
_LOCK: Final = ".lock"
_OURS: Final = {_CONFIG, _LOCK}  # what a run leaves that was stopped before its first checkpoint


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


def write_config(folder: Path, settings: Settings, where: torch.device) -> None:
    """Write `config.json`: the settings, the digests of initial weights and teachers, device and versions."""
    init = Path(settings.init)
    config = {
        "run": folder.name,
        "settings": settings.without_paths(),
        "init_sha256": files.sha256(init) if init.suffix in (".safetensors", ".pt") else None,
        "teacher_sha256": [files.sha256(Path(teacher)) for teacher in settings.teacher],
        "device": where.type,
        "precision": device.precision(settings, where),
        "environment": environment.describe("torch", "torchvision", "numpy") | device.describe(where),
    }
    files.write_json(folder / _CONFIG, config)


def save(folder: Path, state: Checkpoint, *, is_best: bool) -> None:
    """Write checkpoints and tables of the run whose `state` this is.

    The best weights come first: a run that is killed in between repeats the epoch and writes the same file again.
    """
    if is_best:
        best = dataclasses.replace(state, model=state.ema or state.model, optimizer=None, ema=None)
        checkpoint.save(folder / BEST, best)
    checkpoint.save(folder / LAST, state)
    _write_epochs(folder / _CONFIG, state.settings.epochs)
    write_metrics(folder, state.epochs)


def write_metrics(folder: Path, epochs: tuple[EpochMetrics, ...]) -> None:
    """Write `metrics.csv`."""
    header = [item.name for item in dataclasses.fields(EpochMetrics)]
    files.write_csv(folder / _METRICS, header, [dataclasses.astuple(epoch) for epoch in epochs])


def _write_epochs(path: Path, epochs: int) -> None:
    """Let `config.json`, where there is one, have the number of epochs that a resumed run was given."""
    if path.exists():
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if config["settings"]["epochs"] != epochs:
            config["settings"]["epochs"] = epochs
            files.write_json(path, config)
