"""Images out of Parquet columns, and tables into Parquet files."""

from pathlib import Path
from typing import Any

import pytest

pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
from pyarrow import parquet as pq  # noqa: E402

from alexnet.batch import parquet  # noqa: E402
from alexnet.errors import ImageError, UserError  # noqa: E402

IMAGES = [b"first", None, b"", b"fourth" * 5] + [b"%d" % n for n in range(60)]
STRUCT = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])


def write(path: Path, columns: dict[str, Any], **options: Any) -> str:
    pq.write_table(pyarrow.table(columns), path, **options)
    return str(path)


def read(path: str, first: int = 0, count: int = len(IMAGES), column: str | None = None) -> list[bytes | str]:
    reader = parquet.Reader(column, max_bytes=25)
    return [item.code if isinstance(item, ImageError) else item for item in reader.read(path, first, count)]


EXPECTED = ["missing_image" if item is None else "body_too_large" if len(item) > 25 else item for item in IMAGES]


@pytest.mark.parametrize("kind", ["binary", "large_binary", "struct"])
@pytest.mark.parametrize("group", [7, 1000])
@pytest.mark.parametrize("first", [0, 1, 6, 7, 20, 63])
def test_rows_from_any_place(tmp_path: Path, kind: str, group: int, first: int) -> None:
    if kind == "struct":
        values = [None if item is None else {"bytes": item, "path": "a.png"} for item in IMAGES]
        array = pyarrow.array(values, STRUCT)
    else:
        array = pyarrow.array(IMAGES, getattr(pyarrow, kind)())
    path = write(tmp_path / "x.parquet", {"label": list(range(len(IMAGES))), "image": array}, row_group_size=group)
    assert parquet.count_rows(path, None) == len(IMAGES)
    assert read(path, first, len(IMAGES) - first) == EXPECTED[first:]


def test_a_reader_goes_on_where_it_stopped_and_jumps_where_it_must(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", {"image": pyarrow.array(IMAGES, pyarrow.binary())}, row_group_size=9)
    reader = parquet.Reader(None, 25)
    for first, count in ((0, 10), (10, 10), (20, 1), (5, 3), (8, 56), (8, 2)):
        found = [item.code if isinstance(item, ImageError) else item for item in reader.read(path, first, count)]
        assert found == EXPECTED[first : first + count]


def test_the_column_is_image_or_the_only_one_or_the_named_one(tmp_path: Path) -> None:
    one, two = pyarrow.array([b"1"], pyarrow.binary()), pyarrow.array([b"2"], pyarrow.binary())
    both = write(tmp_path / "both.parquet", {"image": one, "thumb": two})
    odd = write(tmp_path / "odd.parquet", {"x": one, "y": two, "n": [1]})
    only = write(tmp_path / "only.parquet", {"n": [1], "x": two})
    assert read(both, count=1) == [b"1"]
    assert read(both, count=1, column="thumb") == [b"2"]
    assert read(only, count=1) == [b"2"]
    with pytest.raises(UserError, match="several columns of images' bytes; name one with --column, of x, y, n"):
        parquet.count_rows(odd, None)
    with pytest.raises(UserError, match="--column n is not a column of images' bytes; the columns are n, x"):
        parquet.count_rows(only, "n")
    with pytest.raises(UserError, match="no column of images' bytes"):
        parquet.count_rows(write(tmp_path / "none.parquet", {"path": ["a.png"]}), None)


def test_a_damaged_row_group_costs_its_own_rows_alone(tmp_path: Path) -> None:
    images = [b"%05d" % n for n in range(30)]
    options = {"row_group_size": 10, "compression": "none", "use_dictionary": False}
    path = Path(write(tmp_path / "x.parquet", {"image": pyarrow.array(images, pyarrow.binary())}, **options))
    place = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[place : place + 40] = b"\xff" * 40
    path.write_bytes(content)
    assert read(str(path), 0, 30) == images[:10] + ["damaged_parquet"] * 10 + images[20:]
    assert read(str(path), 15, 10) == ["damaged_parquet"] * 5 + images[20:25]


def test_a_file_that_is_no_parquet_has_no_count(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and no more")
    assert parquet.count_rows(str(tmp_path / "x.parquet"), None) is None


def test_a_file_that_went_away_is_damaged_rows(tmp_path: Path) -> None:
    assert read(str(tmp_path / "gone.parquet"), 0, 2) == ["damaged_parquet"] * 2


def test_tables_are_joined_in_order_with_their_types(tmp_path: Path) -> None:
    columns = [("path", str), ("row", int), ("score", float), ("unknown", bool)]
    rows = [[f"{n}.png", None if n % 2 else n, n / 7, n > 2] for n in range(5)]
    for n, part in enumerate((rows[:2], rows[2:4], rows[4:])):
        (tmp_path / f"{n}.parquet").write_bytes(parquet.render(columns, part))
    parquet.join([tmp_path / f"{n}.parquet" for n in range(3)], tmp_path / "whole.parquet")
    table = pq.read_table(tmp_path / "whole.parquet")
    assert [list(row.values()) for row in table.to_pylist()] == rows
    assert [str(field.type) for field in table.schema] == ["string", "int64", "double", "bool"]
    assert pq.ParquetFile(tmp_path / "whole.parquet").num_row_groups == 1
