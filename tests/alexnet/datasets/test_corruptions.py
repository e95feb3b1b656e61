"""Corrupted images: all fifteen kinds, worse with severity, the same each time, each image by itself."""

import numpy as np
import pytest
from PIL import Image

from alexnet.datasets import corruptions
from alexnet.datasets.cifar10 import Images
from alexnet.datasets.corruptions import NAMES

# By CIFAR-10-C's strengths, more does not mean further from the image here: the same copying of neighbours but more
# blur, less of the image but hardly more frost, and rougher waves on corners that move less.
OTHERWISE_WORSE = ("glass_blur", "frost", "elastic_transform")
DRAWN = ("gaussian_noise", "shot_noise", "impulse_noise", "glass_blur", "motion_blur", "snow", "frost", "fog")
PAPER = {
    "noise": {"gaussian_noise", "shot_noise", "impulse_noise"},
    "blur": {"defocus_blur", "glass_blur", "motion_blur", "zoom_blur"},
    "weather": {"snow", "frost", "fog", "brightness"},
    "digital": {"contrast", "elastic_transform", "pixelate", "jpeg_compression"},
}


def test_they_are_the_fifteen_of_the_paper() -> None:
    assert set(NAMES) == set().union(*PAPER.values())
    assert len(NAMES) == 15


@pytest.mark.parametrize("name", NAMES)
def test_each_changes_the_pixels_and_more_with_severity(name: str, fixture_images: Images) -> None:
    pixels = fixture_images.pixels[:100]
    made = [corruptions.corrupt(pixels, name, severity) for severity in (1, 3, 5)]
    assert all(corrupted.shape == pixels.shape and corrupted.dtype == np.uint8 for corrupted in made)
    distances = [float(np.abs(corrupted.astype(int) - pixels).mean()) for corrupted in made]
    assert min(distances) > 0
    if name not in OTHERWISE_WORSE:
        assert distances[0] < distances[1] < distances[2]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_drawn_is_the_same_each_time_and_another_for_each_image(name: str, fixture_images: Images) -> None:
    pixels = np.stack([fixture_images.pixels[5]] * 3)
    corrupted = corruptions.corrupt(pixels, name, 3)
    assert np.array_equal(corruptions.corrupt(pixels, name, 3), corrupted)
    assert np.array_equal(corrupted[0], corrupted[1]) == (name not in (*DRAWN, "elastic_transform"))


def test_an_image_is_corrupted_by_itself(fixture_images: Images) -> None:
    """Nothing of its neighbours in the batch comes into it: alone it looks the same where nothing is drawn."""
    pixels = fixture_images.pixels[:4]
    for name in set(NAMES) - {*DRAWN, "elastic_transform"}:
        together = corruptions.corrupt(pixels, name, 5)
        alone = np.concatenate([corruptions.corrupt(image[None], name, 5) for image in pixels])
        assert np.array_equal(together, alone), name


def test_noise_is_as_strong_as_it_says() -> None:
    grey = np.full((100, 32, 32, 3), 128, np.uint8)
    assert np.std(corruptions.corrupt(grey, "gaussian_noise", 5) / 255) == pytest.approx(0.10, rel=0.01)
    assert np.std(corruptions.corrupt(grey, "shot_noise", 5) / 255) == pytest.approx((128 / 255 / 50) ** 0.5, rel=0.01)
    changed = corruptions.corrupt(grey, "impulse_noise", 5)
    assert set(np.unique(changed)) == {0, 128, 255}
    assert np.mean(changed == 255) == pytest.approx(0.035, rel=0.05)
    assert np.mean(changed == 0) == pytest.approx(0.035, rel=0.05)


def test_blurs_keep_what_is_flat_and_spread_a_point() -> None:
    flat = np.full((2, 32, 32, 3), 200, np.uint8)
    point = np.zeros((1, 32, 32, 3), np.uint8)
    point[:, 16, 16] = 255
    for name in ("defocus_blur", "motion_blur", "zoom_blur", "glass_blur"):
        for severity in (1, 3, 5):
            assert np.abs(corruptions.corrupt(flat, name, severity).astype(int) - 200).max() <= 1, name
        if name != "glass_blur":
            assert (corruptions.corrupt(point, name, 5) > 0).any(3).sum() > 3, name


def test_contrast_and_brightness_by_hand() -> None:
    pixels = np.zeros((1, 32, 32, 3), np.uint8)
    pixels[:, :, 16:] = (200, 100, 0)
    low = corruptions.corrupt(pixels, "contrast", 5)
    assert low[0, 0, 0].tolist() == [85, 42, 0]  # 100 - 0.15 * 100, 50 - 0.15 * 50
    assert low[0, 0, 31].tolist() == [115, 57, 0]
    bright = corruptions.corrupt(pixels, "brightness", 3)
    assert bright[0, 0, 0].tolist() == [38, 38, 38]  # 0.15 * 255
    assert bright[0, 0, 31].tolist() == [238, 119, 0]  # as many times brighter as its red, 238.25 / 200


def test_compressed_is_what_pillow_compresses(fixture_images: Images, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("jpeg") / "40.jpg"
    Image.fromarray(fixture_images.pixels[0]).save(file, quality=40)
    assert np.array_equal(
        corruptions.corrupt(fixture_images.pixels[:1], "jpeg_compression", 5)[0], np.asarray(Image.open(file))
    )
