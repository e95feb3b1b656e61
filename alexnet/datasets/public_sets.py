"""Public test sets of CIFAR-10's classes, in the files that their authors publish, to arrays.

In: a folder or a file that is there already; nothing is downloaded. Out: pixels uint8 [N, 32, 32, 3] RGB and labels
int64 [N] from 0 to 9. numpy only.
"""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from alexnet.datasets.cifar10 import SIDE
from alexnet.datasets.images import Images
from alexnet.errors import UserError

Labels = npt.NDArray[np.int64]

CIFAR10_1_DATA: Final = "cifar10.1_v6_data.npy"
SEVERITIES: Final = 5  # of CIFAR-10-C
NO_LABEL: Final = -1

_LABELS: Final = "labels.npy"  # of CIFAR-10-C
_VOTES: Final = ("given", "guessed", "neither", "both")


def read_cifar10_1(folder: Path) -> Images:
    """CIFAR-10.1 (https://github.com/modestyachts/CIFAR-10.1): version 6, 2,000 images.

    Raises `UserError` where its two files are missing or damaged.
    """
    labels = _load(folder / "cifar10.1_v6_labels.npy").astype(np.int64)
    return Images(_pixels(folder / CIFAR10_1_DATA, len(labels)), labels)


def read_cifar10_c(folder: Path, kind: str, severity: int, labels: Labels) -> npt.NDArray[np.uint8]:
    """The test images under one corruption, of CIFAR-10-C (https://zenodo.org/records/2535967).

    `labels` are those of the test images; the set has them five times. Raises `UserError` where a file is missing or
    damaged, or its labels are others.
    """
    count = len(labels)
    if not np.array_equal(_load(folder / _LABELS), np.tile(labels, SEVERITIES)):
        raise UserError(f"{folder / _LABELS} has not the labels of the test images; is this CIFAR-10-C?")
    first = count * (severity - 1)
    return np.array(_pixels(folder / f"{kind}.npy", count * SEVERITIES)[first : first + count])


def read_corrected_labels(path: Path, labels: Labels) -> Labels:
    """The labels int64 [N] that most people back, `NO_LABEL` where no class has more than half of the votes.

    `labels` [N] are those of the test images. `path` is CIFAR-10H's `cifar10h-counts.npy` or `cifar10h-probs.npy`
    (https://github.com/jcpeterson/cifar-10h), or `cifar10_mturk.json`, which lists suspicious images alone
    (https://github.com/cleanlab/label-errors). Raises `UserError` on anything else.
    """
    if path.suffix == ".npy":
        counts = _load(path)
        if counts.shape != (len(labels), 10):
            raise UserError(f"{path} has the shape {counts.shape}, not ({len(labels)}, 10); give CIFAR-10H's votes")
        return np.where(counts.max(1) > counts.sum(1) / 2, counts.argmax(1), NO_LABEL).astype(np.int64)
    corrected = labels.copy()
    for number, given, guessed, votes in _read_suspects(path):
        if not 0 <= number < len(labels) or labels[number] != given:
            raise UserError(f"{path} is about other images: number {number} is not of class {given} here")
        most = max(votes, key=lambda name: votes[name])
        majority = votes[most] > sum(votes.values()) / 2
        corrected[number] = {"given": given, "guessed": guessed}.get(most, NO_LABEL) if majority else NO_LABEL
    return corrected


def _read_suspects(path: Path) -> list[tuple[int, int, int, dict[str, int]]]:
    """Of each image in the list: its number from 0, the given and the guessed label, the votes."""
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        return [
            (
                int(row["id"]),
                int(row["given_original_label"]),
                int(row["our_guessed_label"]),
                {name: int(row["mturk"][name]) for name in _VOTES},
            )
            for row in rows
        ]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give cifar10h-counts.npy or cifar10_mturk.json") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not such a list; give cifar10h-counts.npy or cifar10_mturk.json") from error


def _load(path: Path) -> npt.NDArray[Any]:
    """The array in `path`, of which no more is read than is used."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or 'cannot be read'}; give the folder of its files") from error
    except (ValueError, EOFError) as error:
        raise UserError(f"{path}: not a whole .npy file; download it again") from error
    assert isinstance(array, np.ndarray)
    return array


def _pixels(path: Path, count: int) -> npt.NDArray[np.uint8]:
    array = _load(path)
    if array.dtype != np.uint8 or array.shape != (count, SIDE, SIDE, 3):
        raise UserError(f"{path} is {array.dtype} {array.shape}, not uint8 {(count, SIDE, SIDE, 3)}; download it again")
    return array
