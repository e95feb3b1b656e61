"""Augmentation for images from elsewhere: colours, JPEG, fractals, and what of a batch they change."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from alexnet.datasets import Images
from training.augment import color, fractals, jpeg
from training.augment.robust import RobustAugment

CPU = torch.device("cpu")


@pytest.fixture
def pixels(fixture_images: Images) -> torch.Tensor:
    return torch.from_numpy(fixture_images.pixels)


@pytest.mark.parametrize("quality", [15, 50, 90])
@pytest.mark.parametrize("subsampled", [False, True])
def test_compression_is_what_libjpeg_makes_of_an_image(pixels: torch.Tensor, quality: int, subsampled: bool) -> None:
    images = pixels[:20].permute(0, 3, 1, 2).float() / 255
    found = jpeg.compress(images, torch.full((20,), float(quality)), torch.full((20,), subsampled)) * 255
    for image, ours in zip(pixels[:20], found, strict=True):
        file = io.BytesIO()
        Image.fromarray(image.numpy()).save(file, "JPEG", quality=quality, subsampling=2 if subsampled else 0)
        theirs = torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1).float()
        # Rounding to integers between the steps, and libjpeg's smooth enlargement of chroma.
        assert (ours - theirs).abs().mean() < (6 if subsampled else 1.5)
        assert (ours - image.permute(2, 0, 1)).abs().mean() > 0.3


def test_colours_change_by_image_and_stay_within_bounds(pixels: torch.Tensor) -> None:
    images = pixels.permute(0, 3, 1, 2).float() / 255
    changed = color.jitter(images, torch.Generator().manual_seed(0))
    assert changed.shape == images.shape
    assert changed.min() >= 0
    assert changed.max() <= 1
    difference = (changed - images).abs().mean((1, 2, 3))
    assert (difference < 1e-3).float().mean().item() == pytest.approx(0.6**5, abs=0.08), "nothing happened to some"
    assert difference.max() > 0.15


def test_fractals_are_the_same_for_the_same_seed_and_have_structure() -> None:
    drawn = fractals.draw(4, 32, seed=1)
    assert drawn.shape == (4, 32, 32, 3)
    assert np.array_equal(drawn, fractals.draw(4, 32, seed=1))
    assert not np.array_equal(drawn, fractals.draw(4, 32, seed=2))
    assert (drawn.reshape(4, -1).std(1) > 20).all()


def test_parts_of_a_batch_are_changed_and_the_rest_is_left(pixels: torch.Tensor) -> None:
    drawn = torch.from_numpy(fractals.draw(4, 32, seed=0))
    augment = RobustAugment(degraded=0.5, fractal_mixed=0.2, fractals=drawn, generator=torch.Generator().manual_seed(0))
    changed = augment(pixels)
    assert changed.dtype == torch.uint8
    assert changed.shape == pixels.shape
    same = (changed == pixels).flatten(1).all(1)
    assert same[100:160].all()
    assert not same[160:].any()
    assert same[:100].float().mean() < 0.1


def test_what_is_degraded_stays_in_its_place(pixels: torch.Tensor) -> None:
    """Each degraded image is more like itself than like the others."""
    changed = RobustAugment(degraded=1.0, generator=torch.Generator().manual_seed(1))(pixels).float().flatten(1)
    wanted = pixels.float().flatten(1)
    ours, theirs = ((images - images.mean(1, keepdim=True)) for images in (changed, wanted))
    ours, theirs = ours / ours.norm(dim=1, keepdim=True), theirs / theirs.norm(dim=1, keepdim=True)
    assert ((ours @ theirs.T).argmax(1) == torch.arange(len(pixels))).float().mean() > 0.9


def test_crops_keep_their_image(pixels: torch.Tensor) -> None:
    augment = RobustAugment(smallest_area=0.5, generator=torch.Generator().manual_seed(0))
    changed = augment(pixels)
    assert not (changed == pixels).flatten(1).all(1).any()
    means = [images.float().mean((1, 2)) for images in (changed, pixels)]
    assert (means[0] - means[1]).abs().mean() < 12, "of the same colours"


def test_the_same_seed_draws_the_same_changes(pixels: torch.Tensor) -> None:
    augment = RobustAugment(smallest_area=0.5, degraded=0.7)
    torch.manual_seed(5)
    first = augment(pixels)
    assert not torch.equal(first, augment(pixels))
    torch.manual_seed(5)
    assert torch.equal(first, augment(pixels))
