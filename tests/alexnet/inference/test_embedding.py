"""`Classifier.embed`: the features of images, and why a file has none."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from alexnet import Classifier, UserError
from alexnet.paths import MODEL, ROOT
from tests.models import write_model

CATS = sorted((ROOT / "tests" / "data" / "cifar10" / "cat").glob("*.png"))
SHIPS = sorted((ROOT / "tests" / "data" / "cifar10" / "ship").glob("*.png"))


def test_images_of_a_class_are_nearer_to_each_other() -> None:
    found = Classifier.load(threads=1).embed([*CATS, *SHIPS])
    assert found.dtype == np.float32
    assert found.shape == (len(CATS) + len(SHIPS), 256)
    found = found / np.linalg.norm(found, axis=1, keepdims=True)
    likeness = found @ found.T - 2 * np.eye(len(found))
    is_ship = np.arange(len(found)) >= len(CATS)
    assert (is_ship[likeness.argmax(1)] == is_ship).mean() > 0.9


def test_one_image_is_a_row_and_answers_stay() -> None:
    classifier = Classifier.load(threads=1)
    before = classifier.predict(CATS[0])
    (row,) = classifier.embed(CATS[0])
    assert np.allclose(row, classifier.embed([CATS[1].read_bytes(), CATS[0]])[1], atol=1e-6)
    assert classifier.predict(CATS[0]) == before
    assert len(classifier.embed([])) == 0


def test_a_file_without_an_embedding_says_so(tmp_path: Path) -> None:
    classifier = Classifier.load(write_model(tmp_path / "plain.onnx"), threads=1)
    with pytest.raises(UserError, match=r"plain\.onnx has no embedding"):
        classifier.embed(CATS[0])


def test_a_file_that_changed_meanwhile_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(MODEL.read_bytes())
    classifier = Classifier.load(path, threads=1)
    model = onnx.load(path)
    model.doc_string = "another"
    onnx.save(model, path)
    with pytest.raises(UserError, match="has changed since it was loaded"):
        classifier.embed(CATS[0])
