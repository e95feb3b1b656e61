"""Public test sets in their authors' files: read as they are, refused where they are of something else."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet.datasets import public_sets
from alexnet.datasets.public_sets import NO_LABEL
from alexnet.errors import UserError

LABELS = np.array([3, 8, 8, 0, 6], np.int64)


def suspect(number: int, given: int, guessed: int, *votes: int) -> dict[str, Any]:
    """An element of `cifar10_mturk.json`; `votes` are for the given label, the guessed one, neither and both."""
    names = ("given", "guessed", "neither", "both")
    return {
        "id": number,
        "given_original_label": given,
        "our_guessed_label": guessed,
        "mturk": dict(zip(names, votes, strict=True)),
    }


def test_cifar10_1_is_read(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    np.save(tmp_path / "cifar10.1_v6_data.npy", pixels)
    np.save(tmp_path / "cifar10.1_v6_labels.npy", np.array([1, 2, 3, 9], np.int32))
    images = public_sets.read_cifar10_1(tmp_path)
    assert np.array_equal(images.pixels, pixels)
    assert images.labels.tolist() == [1, 2, 3, 9]


def test_a_severity_of_cifar10_c_is_a_fifth_of_its_file(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (25, 32, 32, 3), np.uint8)
    np.save(tmp_path / "fog.npy", pixels)
    np.save(tmp_path / "labels.npy", np.tile(LABELS, 5).astype(np.uint8))
    assert np.array_equal(public_sets.read_cifar10_c(tmp_path, "fog", 2, LABELS), pixels[5:10])
    assert np.array_equal(public_sets.read_cifar10_c(tmp_path, "fog", 5, LABELS), pixels[20:])
    with pytest.raises(UserError, match="has not the labels of the test images"):
        public_sets.read_cifar10_c(tmp_path, "fog", 1, LABELS[::-1])


def test_the_votes_of_people_give_a_label_where_most_agree(tmp_path: Path) -> None:
    votes = np.zeros((5, 10), np.int64)
    votes[0, 3], votes[1, 0], votes[2, [8, 1]], votes[3, [0, 1]], votes[4, 6] = 50, 40, (26, 25), (25, 25), 1
    np.save(tmp_path / "cifar10h-counts.npy", votes)
    np.save(tmp_path / "cifar10h-probs.npy", votes / votes.sum(1, keepdims=True))
    for name in ("counts", "probs"):
        found = public_sets.read_corrected_labels(tmp_path / f"cifar10h-{name}.npy", LABELS)
        assert found.tolist() == [3, 0, 8, NO_LABEL, 6]


def test_the_list_of_suspicious_labels_changes_those_that_most_reject(tmp_path: Path) -> None:
    rows = [suspect(0, 3, 5, 4, 1, 0, 0), suspect(1, 8, 0, 1, 3, 1, 0), suspect(2, 8, 1, 2, 2, 1, 0)]
    path = tmp_path / "cifar10_mturk.json"
    path.write_text(json.dumps([*rows, suspect(4, 6, 1, 1, 0, 4, 0)]))
    assert public_sets.read_corrected_labels(path, LABELS).tolist() == [3, 0, NO_LABEL, 0, NO_LABEL]


@pytest.mark.parametrize("rows", [[suspect(0, 5, 3, 5, 0, 0, 0)], [suspect(9, 3, 5, 5, 0, 0, 0)]])
def test_a_list_about_other_images_is_refused(tmp_path: Path, rows: list[Any]) -> None:
    path = tmp_path / "cifar10_mturk.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(UserError, match="about other images"):
        public_sets.read_corrected_labels(path, LABELS)


@pytest.mark.parametrize(
    ("name", "content"),
    [("absent.json", None), ("a.json", "{"), ("a.json", "[1]"), ("absent.npy", None), ("a.npy", "no array")],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str, content: str | None) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as caught:
        public_sets.read_corrected_labels(tmp_path / name, LABELS)
    assert "\n" not in str(caught.value)


def test_arrays_of_another_shape_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "votes.npy", np.ones((5, 9)))
    with pytest.raises(UserError, match=r"shape \(5, 9\), not \(5, 10\)"):
        public_sets.read_corrected_labels(tmp_path / "votes.npy", LABELS)
    np.save(tmp_path / "cifar10.1_v6_data.npy", np.zeros((4, 32, 32), np.uint8))
    np.save(tmp_path / "cifar10.1_v6_labels.npy", np.arange(4))
    with pytest.raises(UserError, match=r"not uint8 \(4, 32, 32, 3\); download it again"):
        public_sets.read_cifar10_1(tmp_path)
