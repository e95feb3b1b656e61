"""Numbers to pictures."""

from pathlib import Path

import numpy as np
from PIL import Image

from training import report


def test_the_same_matrix_gives_the_same_picture(tmp_path: Path) -> None:
    matrix = np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])  # a class without images too
    classes = ("cat", "dog", "ship")
    report.plot_confusion(tmp_path / "a.png", matrix, classes)
    report.plot_confusion(tmp_path / "b.png", matrix, classes)
    report.plot_confusion(tmp_path / "c.png", matrix.T, classes)
    first, second, other = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert first == second
    assert first != other
    assert Image.open(tmp_path / "a.png").format == "PNG"
