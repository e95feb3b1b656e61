"""Files that are whole or not there: written under a temporary name beside their own, then renamed."""

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path that takes the place of `path` when the block ends well and vanishes when it does not.

    Raises `OSError` (disk full, no permission) with the old file, if there was one, untouched.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield partial
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a table with its header line."""
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        write_rows(file, [header, *rows])


def write_rows(file: TextIO, rows: Iterable[Sequence[object]]) -> None:
    """Write `rows` as CSV with line feeds; cells with a line feed or a carriage return are quoted."""
    csv.writer(_LineFeeds(file), lineterminator="\r\n").writerows(rows)


class _LineFeeds:
    """Takes rows that end in CR LF, so that the writer quotes both characters: early versions of Python 3.11 and 3.12
    quote only those of the line end.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, row: str) -> int:
        return self._file.write(row.removesuffix("\r\n") + "\n")


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
