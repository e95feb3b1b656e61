"""Parquet files: images out of a column, predictions into a table. The only import of pyarrow (extra `parquet`).

In: files with a column of image files' bytes, or of the struct `{bytes, path}` that Hugging Face writes. Out: the bytes
of each row, read in small batches, never a whole row group (but a page at a time, however large its writer made it).
pyarrow is imported when it is needed.
"""

import importlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from alexnet.errors import ImageError, UserError

_SUFFIXES: Final = (".parquet", ".pq")
_USUAL_NAME: Final = "image"
_BATCH: Final = 16  # rows in memory at a time
_BUFFER: Final = 1 << 20  # bytes read ahead of a column, in place of its whole row group
_ROWS_IN_GROUP: Final = 1 << 16  # of what is written: small parts become groups of a size that readers like


def is_parquet(path: str) -> bool:
    """Whether a file is read as Parquet: by its name."""
    return path.lower().endswith(_SUFFIXES)


def require() -> None:
    """Raise `ImportError` where pyarrow is not installed."""
    importlib.import_module("pyarrow.parquet")


def count_rows(path: str, column: str | None) -> int | None:
    """How many rows the file has, or None for one that is damaged or may not be read.

    Raises `UserError` when it has no column `column`, or, with None, not one column that can be meant.
    """
    require()
    try:
        with _open(path) as file:
            rows: int = file.metadata.num_rows
            _leaf(path, file.schema_arrow, column)
    except UserError:
        raise
    except Exception:  # pyarrow has many
        return None
    return rows


class Reader:
    """Image files out of Parquet rows. Continues where it stopped, so that parts of one file are read in one pass."""

    def __init__(self, column: str | None, max_bytes: int) -> None:
        self._column = column
        self._max_bytes = max_bytes
        self._place: tuple[str, int] | None = None
        self._rows: Iterator[bytes | ImageError] = iter(())

    def read(self, path: str, first: int, count: int) -> Iterator[bytes | ImageError]:
        """The bytes of each of the `count` rows from `first` on, or why there are none."""
        if self._place != (path, first):
            self._rows = self._from(path, first)
        self._place = None  # until all is read
        for _ in range(count):
            yield next(self._rows, _DAMAGED)
        self._place = (path, first + count)

    def _from(self, path: str, first: int) -> Iterator[bytes | ImageError]:
        try:
            file = _open(path)
        except Exception:  # it could be read when the rows were counted
            return
        with file:
            start = 0
            for group in range(file.num_row_groups):
                end = start + file.metadata.row_group(group).num_rows
                place = max(start, first)
                if place < end:
                    try:
                        for content in self._group(path, file, group, place - start):
                            yield content
                            place += 1
                    except (OSError, ValueError):  # pyarrow's own are both
                        for _ in range(place, end):
                            yield _DAMAGED
                start = end

    def _group(self, path: str, file: Any, group: int, skipped: int) -> Iterator[bytes | ImageError]:
        leaf = _leaf(path, file.schema_arrow, self._column)
        for batch in file.iter_batches(batch_size=_BATCH, row_groups=[group], columns=[leaf], use_threads=False):
            if skipped >= len(batch):
                skipped -= len(batch)
                continue
            (values,) = batch.columns if "." not in leaf else [_within(batch.column(0))]
            for value in values[skipped:]:
                yield self._content(value.as_buffer())
            skipped = 0

    def _content(self, buffer: Any) -> bytes | ImageError:
        if buffer is None:
            return ImageError("missing_image", "The row holds no bytes of an image.")
        if buffer.size > self._max_bytes:
            return ImageError("body_too_large", f"The image is larger than {self._max_bytes:,} bytes.")
        content: bytes = buffer.to_pybytes()
        return content


_DAMAGED: Final = ImageError("damaged_parquet", "This part of the Parquet file cannot be read.")


def _open(path: str) -> Any:
    from pyarrow import parquet

    return parquet.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)


def _within(structs: Any) -> Any:
    from pyarrow import compute

    return compute.struct_field(structs, "bytes")  # a null struct has null bytes; `field` would not say so


def _leaf(path: str, schema: Any, column: str | None) -> str:
    """The name of the bytes' own column: `column`, or `column.bytes` for a struct."""
    leaves: dict[str, str] = {}
    for field in schema:
        if _is_bytes(field.type):
            leaves[field.name] = field.name
        elif _has_bytes(field.type):
            leaves[field.name] = f"{field.name}.bytes"
    names = ", ".join(schema.names)
    if column is not None:
        if column not in leaves:
            raise UserError(f"{path}: --column {column} is not a column of images' bytes; the columns are {names}")
        return leaves[column]
    if _USUAL_NAME in leaves:
        return leaves[_USUAL_NAME]
    if len(leaves) != 1:
        wrong = "several columns" if leaves else "no column"
        raise UserError(f"{path}: {wrong} of images' bytes; name one with --column, of {names}")
    return next(iter(leaves.values()))


def _is_bytes(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


def _has_bytes(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_struct(kind) and kind.get_field_index("bytes") >= 0 and _is_bytes(kind.field("bytes").type))


def render(columns: Sequence[tuple[str, type]], rows: Sequence[Sequence[object]]) -> bytes:
    """A Parquet file of `rows`, whose `columns` are names and Python types."""
    import pyarrow
    from pyarrow import parquet

    kinds = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in columns])
    values = list(zip(*rows, strict=True)) or [()] * len(columns)
    arrays = [pyarrow.array(list(own), field.type) for own, field in zip(values, schema, strict=True)]
    file = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_arrays(arrays, schema=schema), file)
    return file.getvalue()


def join(parts: Sequence[Path], whole: Path) -> None:
    """Write the tables of `parts`, one or more, one after the other to `whole`."""
    import pyarrow
    from pyarrow import parquet

    held: list[Any] = []
    with parquet.ParquetWriter(whole, parquet.read_schema(parts[0])) as writer:
        for part in parts:
            held.append(parquet.read_table(part, partitioning=None))
            if sum(map(len, held)) >= _ROWS_IN_GROUP or part == parts[-1]:
                writer.write_table(pyarrow.concat_tables(held))
                held.clear()
