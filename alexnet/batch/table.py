"""Predictions on disk: a row per image, as CSV or Parquet, written in whole parts that are joined at the end.

In: rows of images in their order. Out: the table at `output`. Until all is there, the parts stand in the folder
`<output>.parts/`, each under its number and a digest of which images it has; what is there needs not be done again,
after a kill, on another machine, or by another engine. CSV needs nothing beyond the serving packages.
"""

import fcntl
import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from alexnet import files
from alexnet.batch import parquet
from alexnet.batch.sources import Part
from alexnet.errors import ImageError, UserError

FORMATS: Final = (".csv", ".parquet")
# Beside those of the service (`serving.errors.CODES`): it reads no files.
CODES: Final = {
    "unreadable_file": "The file cannot be read; the message has the reason.",
    "damaged_parquet": "The Parquet file, or the row group that the image is in, cannot be read.",
}
_PLAN: Final = "plan.json"


@dataclass(frozen=True)
class PredictionRow:
    """The prediction for one image: `best`, its classes and scores, best first, or the `error` in their place.

    `row` counts from 0 in a Parquet file; `unknown` is None where the model has no OOD output.
    """

    path: str
    row: int | None
    best: Sequence[tuple[str, float]] = ()
    unknown: bool | None = None
    error: ImageError | None = None

    @property
    def shown_path(self) -> str:
        """`path` with bytes that are not UTF-8 as `\\xNN`: neither table could hold them."""
        return os.fsencode(self.path).decode("utf-8", "backslashreplace")

    @property
    def place(self) -> str:
        """The path and, in a Parquet file, the row."""
        return self.shown_path if self.row is None else f"{self.shown_path} row {self.row}"

    def describe(self) -> dict[str, Any]:
        """The row for JSON, with the names of the service."""
        place = {"path": self.shown_path} if self.row is None else {"path": self.shown_path, "row": self.row}
        if self.error is not None:
            return {**place, "error": self.error.describe()}
        found = [{"label": label, "score": score} for label, score in self.best]
        return {**place, "predictions": found} | ({} if self.unknown is None else {"unknown": self.unknown})


def columns(top_k: int, detects_ood: bool) -> list[tuple[str, type]]:
    """Names and types of the table's columns: `label` and `score` of the best class, `label_2` of the second, ..."""
    best: list[tuple[str, type]] = []
    for rank in range(1, top_k + 1):
        end = f"_{rank}" if rank > 1 else ""
        best += [(f"label{end}", str), (f"score{end}", float)]
    unknown: list[tuple[str, type]] = [("unknown", bool)] if detects_ood else []
    return [("path", str), ("row", int), *best, *unknown, ("error", str), ("message", str)]


def render(kind: str, rows: Sequence[PredictionRow], top_k: int, detects_ood: bool) -> bytes:
    """`rows` as a whole file of `kind`, one of `FORMATS`."""
    names = columns(top_k, detects_ood)
    values = [_values(row, top_k, detects_ood) for row in rows]
    if kind == ".parquet":
        return parquet.render(names, values)
    # In CSV booleans in small letters, as in JSON, and None as nothing.
    cells = [[str(v).lower() if isinstance(v, bool) else v for v in value] for value in values]
    text = io.StringIO()
    files.write_rows(text, [[name for name, _ in names], *cells])
    return text.getvalue().encode()


def _values(row: PredictionRow, top_k: int, detects_ood: bool) -> list[object]:
    best: list[object] = [value for pair in row.best for value in pair] or [None] * (2 * top_k)
    unknown = [row.unknown] if detects_ood else []
    error = (None, None) if row.error is None else (row.error.code, str(row.error))
    return [row.shown_path, row.row, *best, *unknown, *error]


def parts_folder(output: Path) -> Path:
    """Where the parts of an unfinished `output` stand."""
    return output.with_name(f"{output.name}.parts")


class Store:
    """The parts of one output. Close it, or leave its `with` block, so that another process can resume.

    `plan` is what must be the same when a run is resumed. Raises `UserError`, with the remedy, when there is something
    already and neither `resume` nor `overwrite` was asked for, when another process writes here, or when the plan is
    another one.
    """

    def __init__(self, output: Path, plan: Mapping[str, object], *, resume: bool, overwrite: bool) -> None:
        self._output = output
        self._folder = parts_folder(output)
        if self._folder.exists() and not (resume or overwrite):
            raise UserError(f"{self._folder} is of a run that did not end: resume it with --resume, or --overwrite it")
        if output.exists() and not (resume or overwrite):
            raise UserError(f"{output} is there already; --overwrite it, or give another --output")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = self._locked()
        if overwrite:
            self._empty()
        self._compare(plan)
        found = [path for path in self._folder.iterdir() if path.suffix == output.suffix and path.name[0] != "."]
        self._done = {int(path.stem.split("-")[0]): path for path in found}

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def has(self, part: Part) -> bool:
        """Whether `part` is done. Raises `UserError` when a part of its number is, about other images."""
        path = self._done.get(part.number)
        if path is None:
            return False
        if not path.name.startswith(f"{part.name}-"):
            raise UserError(
                f"{self._output}: the images are not those that the run began with; --overwrite starts again"
            )
        return True

    def add(self, part: Part, content: bytes, errors: int) -> None:
        """Keep the table of `part`, `errors` rows of which have an error: whole, or after a kill not at all."""
        path = self._folder / f"{part.name}-{errors}{self._output.suffix}"
        try:
            with files.replacing(path) as partial:
                partial.write_bytes(content)
        except OSError as error:  # above all a full disk
            raise UserError(f"{path}: {error.strerror}; when that is fixed, resume with --resume") from error
        self._done[part.number] = path

    def finish(self, count: int) -> int:
        """Join the `count` parts to the output and remove them; returns how many rows have an error.

        Raises `UserError` when more parts are there: images went away since the run began.
        """
        if len(self._done) != count:
            raise UserError(f"{self._output}: images are gone since the run began; --overwrite starts again")
        paths = [self._done[number] for number in sorted(self._done)]
        whole = self._folder / "whole"
        with files.replacing(whole) as partial:
            parquet.join(paths, partial) if self._output.suffix == ".parquet" else _join_csv(paths, partial)
        whole.replace(self._output)
        shutil.rmtree(self._folder)
        return sum(int(path.stem.split("-")[2]) for path in paths)

    def _locked(self) -> IO[str]:
        """The lock of the run, which ends with its process however that ends."""
        lock = (self._folder / ".lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise UserError(f"{self._output}: another run writes it; wait for it or stop it") from error
        return lock

    def _empty(self) -> None:
        for path in self._folder.iterdir():
            if path.name != ".lock":
                path.unlink()

    def _compare(self, plan: Mapping[str, object]) -> None:
        path = self._folder / _PLAN
        try:
            begun = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            files.write_json(path, plan)
            return
        for name, value in plan.items():
            if begun.get(name) != value:
                raise UserError(
                    f"{self._output}: the run began with {name} {begun.get(name)}, not {value}; "
                    "--overwrite starts again"
                )


def _join_csv(parts: Sequence[Path], whole: Path) -> None:
    with whole.open("wb") as file:
        for place, part in enumerate(parts):
            with part.open("rb") as own:
                header = own.readline()
                if place == 0:
                    file.write(header)
                shutil.copyfileobj(own, file)
