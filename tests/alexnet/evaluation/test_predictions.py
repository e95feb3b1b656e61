"""Predictions as a file: what is written is read, with the paths of an image folder, or refused in one line."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from alexnet.cli import main
from alexnet.datasets import Images
from alexnet.errors import UserError
from alexnet.evaluation import predictions
from alexnet.evaluation.predictions import FILE_NAME, Predictions
from tests.models import write_model

CLASSES = ("bird", "cat", "ship")
FOUND = Predictions(np.array([0, 2, 1]), np.array([0, 1, 1]))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    predictions.write(path, FOUND, CLASSES)
    table = parquet.read_table(path).to_pydict()
    assert table == {"label": ["bird", "ship", "cat"], "predicted": ["bird", "cat", "cat"]}
    read = predictions.read(path, CLASSES, "")
    assert np.array_equal(read.labels, FOUND.labels)
    assert np.array_equal(read.predicted, FOUND.predicted)


def test_those_of_an_image_folder_name_each_file(tmp_path: Path, fixture_images: Images) -> None:
    for part in ("train", "test"):
        for name, numbers in (("cat", (3, 4)), ("ship", (8,))):
            folder = tmp_path / "photos" / part / name
            folder.mkdir(parents=True)
            for number in numbers:
                Image.fromarray(fixture_images.pixels[number + 100 * (part == "test")]).save(folder / f"{number}.png")
    model = write_model(tmp_path / "model.onnx", classes=("cat", "ship"))
    assert main(["evaluate", str(model), "--data", str(tmp_path / "photos"), "--predictions"]) == 0
    table = parquet.read_table(tmp_path / FILE_NAME).to_pydict()
    assert list(table) == ["path", "label", "predicted"]
    assert table["path"] == ["test/cat/3.png", "test/cat/4.png", "test/ship/8.png"]
    assert table["label"] == ["cat", "cat", "ship"]


@pytest.mark.parametrize("damage", ["absent", "damaged", "foreign"])
def test_what_cannot_be_read_is_one_line_with_the_remedy(tmp_path: Path, damage: str) -> None:
    path = tmp_path / FILE_NAME
    if damage == "damaged":
        path.write_bytes(b"PAR1")
    if damage == "foreign":
        predictions.write(path, FOUND, ("bird", "cat", "whale"))
    with pytest.raises(UserError, match=r"; measure it again$") as caught:
        predictions.read(path, CLASSES, "measure it again")
    assert "\n" not in str(caught.value)


def test_pyarrow_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match="pyarrow"):
        predictions.write(tmp_path / FILE_NAME, FOUND, CLASSES)
