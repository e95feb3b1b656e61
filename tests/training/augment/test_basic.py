"""Changes of training images: what they may do to a pixel, and that they do it."""

import torch

from training.augment.basic import Augment

SIDE = 32


def _numbered(count: int) -> torch.Tensor:
    """Images whose pixels tell their own place: red is the row, green the column, blue the image."""
    pixels = torch.empty(count, SIDE, SIDE, 3, dtype=torch.uint8)
    pixels[..., 0] = torch.arange(SIDE)[:, None]
    pixels[..., 1] = torch.arange(SIDE)
    pixels[..., 2] = torch.arange(count)[:, None, None]
    return pixels


def test_without_changes_the_very_same_pixels_come_back() -> None:
    pixels = _numbered(3)
    assert Augment()(pixels) is pixels


def test_flip_mirrors_about_half_of_the_images_and_leaves_the_others() -> None:
    torch.manual_seed(0)
    pixels = _numbered(200)
    changed = Augment(horizontal_flip=True)(pixels)
    mirrored = [torch.equal(image, own.flip(1)) for image, own in zip(changed, pixels, strict=True)]
    same = [torch.equal(image, own) for image, own in zip(changed, pixels, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 70 < sum(mirrored) < 130


def test_crop_moves_an_image_as_padding_with_its_reflection_would() -> None:
    torch.manual_seed(0)
    pixels = _numbered(100)
    changed = Augment(random_crop=4)(pixels)
    padded = torch.nn.functional.pad(pixels.permute(0, 3, 1, 2).float(), (4, 4, 4, 4), mode="reflect")
    windows = padded.unfold(2, SIDE, 1).unfold(3, SIDE, 1).permute(0, 2, 3, 4, 5, 1)  # [N, 9, 9, 32, 32, 3]
    found = set()
    for image, own in zip(changed, windows, strict=True):
        match = (own == image).flatten(2).all(2).nonzero().tolist()
        assert len(match) == 1, "one move explains the image"
        found.add(tuple(match[0]))
    assert {row for row, _ in found} == set(range(9))
    assert {column for _, column in found} == set(range(9))


def test_cutout_paints_one_grey_square_and_nothing_else() -> None:
    torch.manual_seed(0)
    pixels = _numbered(300)
    changed = Augment(cutout=8)(pixels)
    grey = torch.tensor([124, 116, 104], dtype=torch.uint8)
    sizes = []
    for image, own in zip(changed, pixels, strict=True):
        painted = (image == grey).all(2)
        rows, columns = painted.any(1), painted.any(0)
        assert torch.equal(painted, rows[:, None] & columns), "a rectangle"
        assert torch.equal(image[~painted], own[~painted])
        sizes.append((int(rows.sum()), int(columns.sum())))
    assert (8, 8) in sizes
    assert all(4 <= side <= 8 for size in sizes for side in size)
    assert any(size != (8, 8) for size in sizes), "some reach over the edge"


def test_the_same_seed_draws_the_same_changes() -> None:
    augment, pixels = Augment(horizontal_flip=True, random_crop=4, cutout=8), _numbered(20)
    torch.manual_seed(5)
    first = augment(pixels)
    assert not torch.equal(first, augment(pixels))
    torch.manual_seed(5)
    assert torch.equal(first, augment(pixels))


def test_without_mixup_nothing_is_mixed() -> None:
    pixels = _numbered(3)
    assert Augment(random_crop=4).mix(pixels, torch.arange(3)) == (pixels, None)


def test_mixed_images_are_mostly_themselves_and_say_what_else_they_are() -> None:
    torch.manual_seed(0)
    pixels, labels = torch.randint(0, 256, (400, SIDE, SIDE, 3), dtype=torch.uint8), torch.arange(400)
    mixed, mixture = Augment(mixup=0.5).mix(pixels, labels)
    assert mixture is not None
    assert torch.equal(mixture.others, (labels + 1) % 400)
    own = mixture.own[:, None, None, None]
    wanted = own * pixels + (1 - own) * pixels[mixture.others]
    assert mixed.dtype == torch.uint8
    assert (mixed - wanted).abs().max() <= 0.501
    untouched = mixture.own == 1
    assert torch.equal(mixed[untouched], pixels[untouched])
    assert 160 < untouched.sum() < 240
    shares = mixture.own[~untouched]
    assert 0.5 <= shares.min() < 0.55
    assert 0.95 < shares.max() <= 1
    part = mixture.take(torch.tensor([5, 7]))
    assert (part.others.tolist(), part.own.tolist()) == ([6, 8], [mixture.own[5].item(), mixture.own[7].item()])
