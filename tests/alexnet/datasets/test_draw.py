"""Which images of an image folder are held out, and which files are copies."""

import numpy as np
import numpy.typing as npt
import pytest

from alexnet.datasets import draw
from alexnet.datasets.draw import Copies

SIZES = [50, 10, 2, 1]


@pytest.mark.parametrize("seed", [0, 1])
def test_each_class_gives_its_share_and_keeps_one(seed: int) -> None:
    labels, digests = _numbered(SIZES)
    chosen = draw.held_out(labels, digests, 12, seed)
    counts = np.bincount(labels[chosen], minlength=4)
    assert counts.sum() == 12
    assert counts.tolist()[:2] == [10, 2]
    assert counts[3] == 0
    fewer = draw.held_out(labels, digests, 7, seed)
    assert fewer.sum() == 7
    assert not (fewer & ~chosen).any()  # fewer are among the more
    assert np.array_equal(draw.held_out(labels, digests, 12, seed), chosen)
    assert not np.array_equal(draw.held_out(labels, digests, 12, seed + 2), chosen)
    assert draw.most(labels, digests) == 59
    assert set(labels[~draw.held_out(labels, digests, 59, seed)]) == {0, 1, 2, 3}


def test_an_image_more_moves_few_others() -> None:
    labels, digests = _numbered([100, 100])
    before = draw.held_out(labels[1:], digests[1:], 40, 0)
    after = draw.held_out(labels, digests, 40, 0)[1:]
    assert (before != after).sum() <= 2


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_copies_stay_together(count: int, seed: int) -> None:
    labels, digests = _numbered([30, 20])
    for copy, original in ((1, 0), (2, 0), (11, 10), (31, 30), (33, 32), (35, 34)):
        digests[copy] = digests[original]
    chosen = draw.held_out(labels, digests, count, seed)
    assert 1 <= chosen.sum() <= max(count, 3)
    held_out, kept = ({digest.tobytes() for digest in digests[side]} for side in (chosen, ~chosen))
    assert not held_out & kept
    again = draw.held_out(labels, digests, int(chosen.sum()), seed)  # as a run that resumes asks
    assert np.array_equal(again, chosen)
    assert draw.find_copies(labels, digests) == Copies(6, None)


def test_a_file_in_two_classes_is_counted_and_never_held_out() -> None:
    labels, digests = _numbered([5, 5])
    digests[7] = digests[2]
    assert draw.find_copies(labels, digests) == Copies(1, (2, 7))
    assert draw.most(labels, digests) == 6
    chosen = draw.held_out(labels, digests, 6, 0)
    assert chosen.sum() == 6
    assert not chosen[[2, 7]].any()


def _numbered(sizes: list[int]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return labels, np.random.default_rng(0).integers(0, 256, (len(labels), 32), np.uint8)
