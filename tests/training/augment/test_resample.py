"""Resampling by matrices, against torch's and Pillow's own."""

import numpy as np
import torch
from PIL import Image

from training.augment import resample

CATMULL_ROM = torch.tensor([[0.0, 0.5]])


def test_a_shrunk_image_is_what_pillow_makes_of_it_by_bicubic() -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (64, 64), dtype=np.uint8)
    wanted = np.asarray(Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC)).astype(float)
    places = resample.centers(32, torch.tensor([0.0]), torch.tensor([64.0]))
    matrix = resample.sample(places, torch.tensor([2.0]), CATMULL_ROM, 64)
    found = resample.apply(matrix, torch.from_numpy(pixels).float()[None, None], matrix)[0, 0]
    inside = slice(2, -2)  # at the edge Pillow normalises another number of weights
    assert np.abs(found.clamp(0, 255).numpy() - wanted)[inside, inside].max() <= 1


def test_a_part_of_an_image_is_cut_out_and_enlarged() -> None:
    ramp = torch.arange(32.0)[None, None, None].expand(1, 1, 32, 32)
    places = resample.centers(32, torch.tensor([8.0]), torch.tensor([16.0]))
    matrix = resample.sample(places, torch.tensor([1.0]), CATMULL_ROM, 32)
    found = resample.apply(matrix, ramp, matrix)[0, 0]
    wanted = 8 + (torch.arange(32) + 0.5) / 2 - 0.5  # from the eighth pixel on, two samples a pixel
    assert torch.allclose(found, wanted.expand(32, 32), atol=1e-4)


def test_beyond_its_edge_an_image_is_reflected() -> None:
    line = torch.arange(8.0)
    places = torch.arange(-3.0, 11.0)[None] + 0.5  # three pixels more on each side
    matrix = resample.sample(places, torch.tensor([1.0]), CATMULL_ROM, 8, margin=4)
    assert torch.allclose(matrix[0] @ line, torch.tensor([2.0, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 7, 6, 5]), atol=1e-5)


def test_shrinking_to_the_same_size_changes_nothing_and_to_half_loses_detail() -> None:
    sides, filters = torch.tensor([16.0, 8.0]), CATMULL_ROM.expand(2, 2)
    matrices = resample.shrink_and_enlarge(sides, torch.ones(2), filters, filters, 16)
    assert torch.allclose(matrices[0], torch.eye(16), atol=1e-6)
    checks = torch.tensor([0.0, 1.0] * 8)
    assert (matrices[1] @ checks).sub(0.5).abs().max() < 0.1
    assert torch.allclose(matrices.sum(2), torch.ones(2, 16), atol=1e-5)


def test_less_width_leaves_aliasing() -> None:
    sides, filters = torch.tensor([8.0]), CATMULL_ROM
    narrow = resample.shrink_and_enlarge(sides, torch.tensor([0.3]), filters, filters, 16)
    lines = torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0] * 4)[:16]
    wide = resample.shrink_and_enlarge(sides, torch.ones(1), filters, filters, 16)
    assert (narrow[0] @ lines - lines).abs().mean() != (wide[0] @ lines - lines).abs().mean()
    assert torch.isfinite(narrow).all()


def test_a_blur_has_its_standard_deviation() -> None:
    matrix = resample.gaussian(torch.tensor([1.5]), 65)[0]
    index = torch.arange(65.0) - 32
    assert abs((matrix[32] * index**2).sum().sqrt().item() - 1.5) < 1e-3


def test_log_uniform_numbers_lie_between_their_bounds() -> None:
    found = resample.log_uniform(torch.tensor([0.0, 0.5, 1.0]), 0.25, 4.0)
    assert torch.allclose(found, torch.tensor([0.25, 1.0, 4.0]))
