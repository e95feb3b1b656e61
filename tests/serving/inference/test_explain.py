"""Occlusion: what is covered, what the class loses by it, and where."""

import numpy as np
import pytest

from serving.inference.explain import GRID, POSITIONS, losses, occlude


@pytest.mark.parametrize(("height", "width"), [(32, 32), (40, 24), (9, 33)])
def test_every_part_is_covered_by_the_mean_colour_and_the_rest_stays(height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    variants = occlude(pixels)
    assert variants.shape == (1 + POSITIONS**2, height, width, 3)
    np.testing.assert_array_equal(variants[0], pixels)
    mean = pixels.mean(axis=(0, 1)).round().astype(np.uint8)
    covered = np.zeros((height, width), int)
    for variant in variants[1:]:
        changed = (variant == mean).all(axis=2)
        np.testing.assert_array_equal(variant[~changed], pixels[~changed])
        assert changed.sum() >= 1
        covered += changed
    assert covered.min() >= 1


def test_the_loss_is_where_the_class_is() -> None:
    """A model that looks only at the top left cell: each cell's loss is the mean over the covers that touch it."""
    probabilities = np.full(1 + POSITIONS**2, 0.9, np.float32)
    probabilities[1] = 0.1  # covered: the two by two cells at the top left
    grid = losses(probabilities)
    assert grid.shape == (GRID, GRID)
    assert grid[0, 0] == pytest.approx(0.8)  # no other cover touches it
    assert grid[0, 1] == pytest.approx(0.4)
    assert grid[1, 1] == pytest.approx(0.2)
    assert np.count_nonzero(grid) == 4


def test_what_the_class_gains_is_negative() -> None:
    probabilities = np.full(1 + POSITIONS**2, 0.5, np.float32)
    probabilities[-1] = 0.75
    assert losses(probabilities)[-1, -1] == pytest.approx(-0.25)
