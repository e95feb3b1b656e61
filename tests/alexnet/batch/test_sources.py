"""What to predict: every image once, in an order that depends on names alone, whatever the names are."""

import os
from pathlib import Path

import pytest

from alexnet.batch.sources import Part, Span, divide, find
from alexnet.errors import UserError
from tests.conftest import FIXTURE

ODD = ("with space.png", 'comma,quote".png', "line\nbreak.png", "[1].png", "*.png", "-flag.png", "ä€😀.png", "noending")


def paths(*inputs: str | Path) -> list[str]:
    return [span.path for span in find([str(given) for given in inputs])]


def test_a_folder_gives_all_files_below_it_in_the_order_of_their_names() -> None:
    found = paths(FIXTURE)
    assert len(found) == 200
    assert found == sorted(found)
    assert found[0] == str(FIXTURE / "airplane" / "00003.png")


def test_inputs_keep_their_order_and_an_image_named_twice_is_there_twice() -> None:
    cat, dog = sorted(FIXTURE.glob("cat/*"))[0], sorted(FIXTURE.glob("dog/*"))[0]
    assert paths(dog, cat, dog) == [str(dog), str(cat), str(dog)]


def test_files_and_folders_stand_among_each_other(tmp_path: Path) -> None:
    for name in ("b/x.png", "a.png", "c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert paths(tmp_path) == [str(tmp_path / name) for name in ("a.png", "b/x.png", "c.png")]


def test_odd_names(tmp_path: Path) -> None:
    for name in ODD:
        (tmp_path / name).touch()
    (tmp_path / os.fsdecode(b"latin-\xe9.png")).touch()
    found = paths(tmp_path)
    assert sorted(Path(path).name for path in found) == sorted([*ODD, os.fsdecode(b"latin-\xe9.png")])
    # A name that is there is that file, even when it looks like a pattern.
    assert paths(tmp_path / "[1].png") == [str(tmp_path / "[1].png")]
    assert paths(tmp_path / "*.png") == [str(tmp_path / "*.png")]


def test_hidden_files_and_our_own_output_are_left_out(tmp_path: Path) -> None:
    for name in ("a.png", ".DS_Store", ".hidden/b.png", "out.csv", "out.csv.parts/00000000.csv", "sub/out.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    own = (tmp_path / "out.csv", tmp_path / "out.csv.parts")
    assert [span.path for span in find([str(tmp_path)], None, own)] == [
        str(tmp_path / "a.png"),
        str(tmp_path / "sub" / "out.csv"),
    ]
    assert [span.path for span in find([str(tmp_path / "*.csv")], None, own)] == []


def test_links_and_pipes(tmp_path: Path) -> None:
    (tmp_path / "broken.png").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "whole.png").symlink_to(FIXTURE / "cat" / "00000.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert [Path(path).name for path in paths(tmp_path)] == ["broken.png", "whole.png"]


def test_a_pattern_finds_files_and_folders_once() -> None:
    everything = paths(FIXTURE)
    assert paths(FIXTURE / "*") == everything
    assert paths(FIXTURE / "**") == everything
    assert paths(FIXTURE / "*" / "*.png") == everything
    assert paths(FIXTURE / "cat" / "0000?.png") == [
        str(FIXTURE / "cat" / "00000.png"),
        str(FIXTURE / "cat" / "00008.png"),
    ]


@pytest.mark.parametrize("given", ["absent.png", "absent/*.png"])
def test_an_input_that_is_not_there_is_a_mistake(given: str) -> None:
    with pytest.raises(UserError, match="there is no such file or folder, and nothing that matches"):
        paths(given)


def test_parts_hold_each_image_once_and_cut_parquet_files() -> None:
    parts = list(divide([Span("a"), Span("b.parquet", 0, 5), Span("c")], 3))
    assert [part.spans for part in parts] == [
        (Span("a"), Span("b.parquet", 0, 2)),
        (Span("b.parquet", 2, 3),),
        (Span("c"),),
    ]
    assert [(part.number, part.images) for part in parts] == [(0, 3), (1, 3), (2, 1)]
    assert list(divide([Span("a"), Span("b")], 2)) == [Part(0, (Span("a"), Span("b")))]
    assert list(divide([], 2)) == []


def test_the_name_of_a_part_tells_its_number_and_its_images() -> None:
    names = {Part(n, (Span(path, first),)).name for n in (0, 1) for path in ("a", "b") for first in (None, 0)}
    assert len(names) == 8
    assert Part(7, (Span("a"),)).name.startswith("00000007-")
