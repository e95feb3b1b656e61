"""Synthetic outliers: of the right shape, never a real image, always the same."""

import numpy as np
import pytest

from alexnet.datasets import synthetic_outliers
from alexnet.datasets.cifar10 import Images


def test_they_are_nothing_real_and_always_the_same(fixture_images: Images) -> None:
    made = synthetic_outliers.make(fixture_images.pixels, fixture_images.labels, 20, seed=3)
    again = synthetic_outliers.make(fixture_images.pixels, fixture_images.labels, 20, seed=3)
    real = {image.tobytes() for image in fixture_images.pixels}
    assert len(made) == 9
    for kind, pixels in made.items():
        assert pixels.shape == (20, 32, 32, 3)
        assert pixels.dtype == np.uint8
        assert np.array_equal(pixels, again[kind])
        assert sum(image.tobytes() in real for image in pixels) <= 2, kind  # chance can put a jigsaw together
    assert np.ptp(made["flat"], axis=(1, 2)).max() == 0


def test_a_jigsaw_keeps_its_pieces_and_a_blend_is_of_two_classes() -> None:
    pixels = np.arange(2 * 32 * 32 * 3, dtype=np.uint32).reshape(2, 32, 32, 3) // 32 // 3 % 256
    pixels = pixels.astype(np.uint8)
    made = synthetic_outliers.make(pixels, np.array([0, 1]), 8, seed=0)
    for image in made["jigsaw of large pieces"]:
        assert any(np.array_equal(np.sort(image, None), np.sort(original, None)) for original in pixels)
    blend = ((pixels[0].astype(int) + pixels[1]) // 2).astype(np.uint8)
    assert (made["blend of two"] == blend).all()


@pytest.mark.parametrize("side", [32, 64])
def test_they_have_the_size_of_the_images(side: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, side, side, 3), np.uint8)
    made = synthetic_outliers.make(pixels, np.array([0, 0, 1, 1]), 3, seed=0)
    assert {images.shape for images in made.values()} == {(3, side, side, 3)}
