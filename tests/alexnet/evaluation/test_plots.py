"""Plots: the same numbers give the same bytes, in every alphabet."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from alexnet.evaluation import plots


def test_the_same_matrix_gives_the_same_picture(tmp_path: Path) -> None:
    matrix = np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])  # a class without images too
    classes = ("cat", "dog", "ship")
    plots.plot_confusion(tmp_path / "a.png", matrix, classes)
    plots.plot_confusion(tmp_path / "b.png", matrix, classes)
    plots.plot_confusion(tmp_path / "c.png", matrix.T, classes)
    first, second, other = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert first == second
    assert first != other
    assert Image.open(tmp_path / "a.png").format == "PNG"


def test_a_class_whose_letters_the_font_lacks_is_a_box_and_no_warning(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.plot_confusion(tmp_path / "confusion.png", np.eye(2, dtype=np.int64), ("猫", "犬"))
    assert Image.open(tmp_path / "confusion.png").size > (100, 100)
