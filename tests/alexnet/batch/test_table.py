"""Rows as CSV, and the parts of an unfinished table: whole, each once, and of one run."""

import csv
import errno
import io
import os
from pathlib import Path

import pytest

from alexnet.batch import table
from alexnet.batch.sources import Part, Span
from alexnet.batch.table import PredictionRow, Store, parts_folder
from alexnet.errors import ImageError, UserError
from serving.errors import CODES

PLAN = {"model": "abc", "part": 2}
PARTS = [Part(0, (Span("a"), Span("b"))), Part(1, (Span("c"),))]
TABLES = [b"head\na\nb\n", b"head\nc\n"]


def store(tmp_path: Path, plan: dict[str, object] = PLAN, *, resume: bool = False, overwrite: bool = False) -> Store:
    return Store(tmp_path / "out.csv", plan, resume=resume, overwrite=overwrite)


def test_rows_as_csv() -> None:
    rows = [
        PredictionRow('a,"b"\n.png', None, [("cat", 0.75), ("dog", 0.25)], False),
        PredictionRow("x.parquet", 7, [("dog", 0.5), ("cat", 0.5)], True),
        PredictionRow(os.fsdecode(b"\xe9.png"), None, error=ImageError("empty_image", "The image is empty.")),
    ]
    text = table.render(".csv", rows, 2, True).decode()
    assert list(csv.reader(io.StringIO(text))) == [
        ["path", "row", "label", "score", "label_2", "score_2", "unknown", "error", "message"],
        ["a,\"b\"\n.png", "", "cat", "0.75", "dog", "0.25", "false", "", ""],
        ["x.parquet", "7", "dog", "0.5", "cat", "0.5", "true", "", ""],
        ["\\xe9.png", "", "", "", "", "", "", "empty_image", "The image is empty."],
    ]  # fmt: skip
    assert "unknown" not in table.render(".csv", [], 1, False).decode()


def test_a_row_for_json_has_the_words_of_the_service() -> None:
    assert PredictionRow("a", None, [("cat", 1.0)]).describe() == {
        "path": "a",
        "predictions": [{"label": "cat", "score": 1.0}],
    }
    assert PredictionRow("a", 3, error=ImageError("empty_image", "No.")).describe() == {
        "path": "a",
        "row": 3,
        "error": {"code": "empty_image", "message": "No."},
    }


def test_own_codes_are_no_codes_of_the_service() -> None:
    assert not table.CODES.keys() & CODES.keys()


def test_parts_in_any_order_become_the_table_in_order_and_go(tmp_path: Path) -> None:
    with store(tmp_path) as parts:
        parts.add(PARTS[1], TABLES[1], 1)
        assert [parts.has(part) for part in PARTS] == [False, True]
        parts.add(PARTS[0], TABLES[0], 1)
        parts.add(PARTS[1], TABLES[1], 1)  # again, as after a retry
        assert parts.finish(2) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert (tmp_path / "out.csv").read_bytes() == b"head\na\nb\nc\n"


def test_what_is_there_is_never_touched_unasked(tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("old")
    with pytest.raises(UserError, match=r"out.csv is there already; --overwrite it"):
        store(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    with store(tmp_path, overwrite=True) as parts:
        parts.add(PARTS[0], TABLES[0], 0)
    assert (tmp_path / "out.csv").read_text() == "old"  # until the new one is whole
    with pytest.raises(UserError, match=r"out.csv.parts is of a run that did not end: resume it with --resume"):
        store(tmp_path)
    with store(tmp_path, resume=True) as parts:
        assert parts.has(PARTS[0])
        parts.finish(1)
    assert (tmp_path / "out.csv").read_bytes() == TABLES[0]


def test_overwriting_forgets_the_parts_of_before(tmp_path: Path) -> None:
    with store(tmp_path) as parts:
        parts.add(PARTS[0], TABLES[0], 0)
    with store(tmp_path, {"model": "other", "part": 2}, overwrite=True) as parts:
        assert not parts.has(PARTS[0])


def test_half_a_part_is_no_part(tmp_path: Path) -> None:
    with store(tmp_path):
        (parts_folder(tmp_path / "out.csv") / f".{PARTS[0].name}-0.csv.123.part").write_text("half")
    with store(tmp_path, resume=True) as parts:
        assert not parts.has(PARTS[0])
        parts.add(PARTS[0], TABLES[0], 0)
        parts.finish(1)
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


@pytest.mark.parametrize(
    ("plan", "complaint"),
    [
        ({"model": "def", "part": 2}, "the run began with model abc, not def; --overwrite starts again"),
        ({"model": "abc", "part": 9}, "the run began with part 2, not 9"),
    ],
)
def test_a_run_goes_on_as_it_began_or_not_at_all(tmp_path: Path, plan: dict[str, object], complaint: str) -> None:
    store(tmp_path).__exit__()
    with pytest.raises(UserError, match=complaint):
        store(tmp_path, plan, resume=True)


def test_other_images_than_at_the_beginning_are_noticed(tmp_path: Path) -> None:
    with store(tmp_path) as parts:
        parts.add(PARTS[0], TABLES[0], 0)
        with pytest.raises(UserError, match="the images are not those that the run began with"):
            parts.has(Part(0, (Span("a"), Span("new"))))
        parts.add(PARTS[1], TABLES[1], 0)
        with pytest.raises(UserError, match="images are gone since the run began"):
            parts.finish(1)


def test_a_full_disk_is_one_line_and_keeps_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with store(tmp_path) as parts:
        parts.add(PARTS[0], TABLES[0], 0)
        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(UserError, match="No space left on device; when that is fixed, resume with --resume"):
            parts.add(PARTS[1], TABLES[1], 0)
    assert len(list(parts_folder(tmp_path / "out.csv").glob("0*.csv"))) == 1


def test_two_runs_never_write_one_table(tmp_path: Path) -> None:
    with store(tmp_path), pytest.raises(UserError, match="another run writes it"):
        store(tmp_path, resume=True)
    store(tmp_path, resume=True).__exit__()
