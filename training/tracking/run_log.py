"""A run to where people watch runs: TensorBoard (events.py) and MLflow (mlflow_runs.py), while it is trained.

In: the run's `config.json` and `metrics.csv`, read anew whenever the trainer has written them: what they say is what
is sent, all that is missing, so that nothing is lost with a process or a server and nothing is there twice. Out: the
trackers' own files and runs.
"""

import csv
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from alexnet.errors import UserError
from training.tracking.mlflow import MlflowRuns, reason
from training.tracking.tensorboard import Events

_PAUSE: Final = 600  # seconds after a failure: a server that hangs costs a minute at each try


@contextmanager
def following(*, tensorboard: bool, mlflow: str | None) -> Iterator[Callable[[Path], None]]:
    """What is to be called with a run's folder whenever its files have changed.

    A tracker that fails later is told of in one line and tried again, and the run goes on. Of the processes that
    torchrun starts, only the first tracks. Raises `UserError` when a package is missing or `mlflow` cannot be used.
    """
    trackers: list[_Tracker] = []
    if os.environ.get("RANK", "0") == "0":
        trackers += [_Tracker(Events())] if tensorboard else []
        trackers += [_Tracker(MlflowRuns(mlflow, training=True))] if mlflow is not None else []
    folders: set[Path] = set()

    def watch(folder: Path) -> None:
        folders.add(folder)
        for tracker in trackers:
            tracker.send(folder)

    status = "FAILED"
    try:
        yield watch
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        for folder in folders:
            for tracker in trackers:
                tracker.end(folder, status)


def model_log(checkpoint: Path, mlflow: str | None, name: str | None) -> Callable[[Path], None]:
    """What is to be called with the ONNX file that `checkpoint` became, to put it into MLflow; asked before the work.

    `name` is that of a registered model. Without `mlflow` nothing is done. Raises `UserError` when `mlflow` cannot be
    used, or `checkpoint` is in no folder of a run.
    """
    if mlflow is None:
        if name is not None:
            raise UserError("--register needs --mlflow URI, the store to register in")
        return lambda model: None
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    known = read(folder)
    store = MlflowRuns(mlflow, training=False)

    def log(model: Path) -> None:
        try:
            store.send(folder, *known)
            print(f"MLflow: {store.log_model(folder, model, name)}")
        except Exception as error:
            raise UserError(f"{model} is written, but not in MLflow ({reason(error)}); repeat the command") from error

    return log


class _Tracker:
    """One that may fail without harm."""

    def __init__(self, kind: Events | MlflowRuns) -> None:
        self._kind = kind
        self._again: float | None = None  # when a tracker that failed is tried next, as of time.monotonic

    def send(self, folder: Path) -> None:
        if self._again is not None and time.monotonic() < self._again:
            return
        try:
            self._kind.send(folder, *read(folder))
            self._again = None
        except Exception as error:  # whatever it is, the run is worth more
            if self._again is None:
                self._warn(error, "training goes on, and what is missing is sent later")
            self._again = time.monotonic() + _PAUSE

    def end(self, folder: Path, status: str) -> None:
        try:
            self._kind.send(folder, *read(folder))
            self._kind.end(folder, status)
        except Exception as error:
            self._warn(error, f"what is missing is sent by the same flag with --resume {folder}")

    def _warn(self, error: Exception, outlook: str) -> None:
        print(f"alexnet: {self._kind.name} failed ({reason(error)}); {outlook}", file=sys.stderr)


def read(folder: Path) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """The `config.json` of a run, and a row for each epoch of its `metrics.csv`, without what is not known.

    Raises `UserError` when they are not there or damaged.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
            return config, [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: no folder of a run, with its config.json and metrics.csv ({error})") from error
