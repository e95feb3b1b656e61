"""What to predict: files, folders, globs and Parquet files, as a stream of spans in an order that never changes.

In: the words of the command line. Out: `Span`s, one for each image file and one for each Parquet file, and `Part`s of a
fixed number of images, the pieces that a run does, keeps and resumes. Only one folder's names are held at a time (and
the matches of a glob), however many images there are.
"""

import glob
import hashlib
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from alexnet.batch import parquet
from alexnet.datasets.folders import is_ignored
from alexnet.errors import UserError


@dataclass(frozen=True)
class Span:
    """One image file; or, where `first` is a number, `count` rows of a Parquet file from that row on."""

    path: str
    first: int | None = None
    count: int = 1


@dataclass(frozen=True)
class Part:
    """The images that are done and kept together: the same inputs give the same parts, wherever they are computed."""

    number: int
    spans: tuple[Span, ...]

    @property
    def images(self) -> int:
        """How many images it has."""
        return sum(span.count for span in self.spans)

    @property
    def name(self) -> str:
        """Its number and a digest of which images it has, in the order of the numbers."""
        spans = repr([(span.path, span.first, span.count) for span in self.spans])
        return f"{self.number:08}-{hashlib.sha256(spans.encode()).hexdigest()[:16]}"


def find(inputs: Sequence[str], column: str | None = None, leave_out: Collection[Path] = ()) -> Iterator[Span]:
    """The images of `inputs` in their order, those of a folder in the order of their names, its folders among them.

    A folder gives all files in it and below but hidden ones, what NAS systems and archives leave, and those of
    `leave_out`; their names decide only what is Parquet. Links to folders are not followed. Raises `UserError` on an
    input that is not there, and on a Parquet file without an image column; a damaged file is a span like any other.
    """
    walk = _Walk(column, {os.path.realpath(path) for path in leave_out})
    for given in inputs:
        kind = _kind(given)
        if stat.S_ISDIR(kind):
            yield from walk.folder(given)
        elif stat.S_ISREG(kind):
            yield from walk.file(given)
        elif kind or given == "-":
            raise UserError(f"{given} is a pipe or a device, which can be read only once; save it to a file first")
        else:
            yield from walk.matches(given)


def divide(spans: Iterable[Span], size: int) -> Iterator[Part]:
    """Parts of `size` images each, the last one perhaps smaller."""
    number, held, room = 0, list[Span](), size
    for span in spans:
        if span.count == 1 < room:  # of millions of files, nearly every one
            held.append(span)
            room -= 1
            continue
        while span.count:
            taken = min(room, span.count)
            held.append(replace(span, count=taken))
            span = replace(span, count=span.count - taken, first=None if span.first is None else span.first + taken)
            room -= taken
            if not room:
                yield Part(number, tuple(held))
                number, held, room = number + 1, [], size
    if held:
        yield Part(number, tuple(held))


def _kind(path: str) -> int:
    """The mode of what is there, behind links; 0 where nothing is, or nothing that may be seen."""
    try:
        return os.stat(path).st_mode  # noqa: PTH116 of a million files a pathlib path each is a second
    except (OSError, ValueError):
        return 0


class _Walk:
    """The column that Parquet files are asked for, and the real paths of what is our own output."""

    def __init__(self, column: str | None, own: Collection[str]) -> None:
        self._column = column
        self._own = own
        self._own_names = {Path(path).name for path in own}

    def folder(self, path: str) -> Iterator[Span]:
        levels = [self._list(path)]
        while levels:
            for entry in levels[-1]:
                if isinstance(entry, Span):
                    yield entry
                elif entry.is_dir(follow_symlinks=False):
                    levels.append(self._list(entry.path))
                    break
                elif entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists()):
                    yield from self.file(entry.path)
            else:
                levels.pop()

    def _list(self, folder: str) -> Iterator[os.DirEntry[str] | Span]:
        """What lies in `folder` and counts, by name; of a folder that cannot be read a span, whose row says why."""
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError:
            return iter((Span(folder),))
        return (entry for entry in entries if not is_ignored(entry.name) and not self._is_own(entry.path))

    def file(self, path: str) -> Iterator[Span]:
        if not parquet.is_parquet(path):
            yield Span(path)
            return
        rows = parquet.count_rows(path, self._column)
        if rows is None:
            yield Span(path)
        elif rows:
            yield Span(path, 0, rows)

    def matches(self, pattern: str) -> Iterator[Span]:
        # "**" finds what is in the folders that it finds.
        folders_too = "**" not in pattern
        try:
            # pathlib takes no absolute patterns.
            found = sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else []  # noqa: PTH207
        except RecursionError as error:
            raise UserError(f"{pattern}: folders are nested too deeply for a pattern; give the folder") from error
        if not found:
            raise UserError(f"{pattern}: there is no such file or folder, and nothing that matches")
        for path in found:
            if self._is_own(path):
                continue
            if Path(path).is_file():
                yield from self.file(path)
            elif folders_too and Path(path).is_dir():
                yield from self.folder(path)

    def _is_own(self, path: str) -> bool:
        # The name first: asking the file system about each image would take longer than listing them.
        return path.rpartition(os.sep)[2] in self._own_names and os.path.realpath(path) in self._own
