"""Files are whole or not there."""

import hashlib
import json
from pathlib import Path

import pytest

from alexnet import files


def test_a_file_takes_its_name_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with files.replacing(path) as partial:
        partial.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_fails_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="disk full"):
        _write_half(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_and_csv_are_written_as_others_read_them(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"word": "Zürich", "number": 0.1})
    files.write_csv(tmp_path / "a.csv", ["epoch", "loss"], [(1, 0.5), (2, 0.25)])
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"word": "Zürich", "number": 0.1}
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,loss\n1,0.5\n2,0.25\n"


def test_sha256_is_that_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc" * 100_000)
    assert files.sha256(path) == hashlib.sha256(b"abc" * 100_000).hexdigest()


def _write_half(path: Path) -> None:
    with files.replacing(path) as partial:
        partial.write_text("half of the n")
        raise OSError("disk full")
