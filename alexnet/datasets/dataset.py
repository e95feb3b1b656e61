"""The folder that `--data` names to images: CIFAR-10, or pictures of one's own.

In: a folder with `cifar-10-batches-bin/` (data.py) or with `train/` and `test/` (pictures.py), and what a run says of
the data that it was trained on. Out: pixels uint8 [N, 32, 32, 3] RGB, labels int64 [N], the names of the classes. To a
folder with neither, CIFAR-10 is downloaded. No torch.
"""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from alexnet import files
from alexnet.datasets import cifar10, image_folder
from alexnet.datasets.cifar10 import Images
from alexnet.errors import UserError

_SHARE: Final = 5  # where nothing is said, one of so many pictures is held out
_UNEQUAL: Final = 1.5  # times the images of the smallest class


@dataclass(frozen=True)
class Known:
    """What a run learnt from: `classes` in the order of the labels and, of one's own pictures, the SHA-256 of all."""

    classes: tuple[str, ...]
    pictures: str | None = None

    @classmethod
    def of(cls, saved: Mapping[str, Any]) -> "Known":
        """What a checkpoint says, as `describe` wrote it."""
        return cls(tuple(saved["classes"]), saved.get("pictures"))

    def describe(self) -> dict[str, Any]:
        """For a checkpoint: plain values."""
        return {"classes": list(self.classes)} | ({} if self.pictures is None else {"pictures": self.pictures})


@dataclass(frozen=True)
class Parts:
    """The images to train on, those to choose the best epoch by, and what a run will know of them."""

    known: Known
    training: Images
    validation: Images


@dataclass(frozen=True)
class _Own:
    known: Known
    train: image_folder.Part
    held_out: image_folder.Part | None  # validation/, where it is there


def is_pictures(root: Path) -> bool:
    """Whether `root` holds pictures of one's own. Raises `UserError` where it does, but not as it should."""
    return not (root / cifar10.FOLDER).is_dir() and image_folder.is_folder(root)


def classes(root: Path) -> tuple[str, ...]:
    """The classes that a run on `root` learns. Raises `UserError` on folders that name too few, or differ."""
    return image_folder.classes(root) if is_pictures(root) else cifar10.CLASSES


def prepare(root: Path) -> None:
    """Download CIFAR-10 where it is absent; or decode pictures, and say on standard error what is wrong with some."""
    if not is_pictures(root):
        cifar10.ensure_downloaded(root)
        return
    own = _read_own(root)
    image_folder.warn(root, image_folder.TRAIN, own.train)
    if own.held_out:
        image_folder.warn(root, image_folder.VALIDATION, own.held_out)
    for part in (image_folder.VALIDATION, image_folder.TEST):
        _count_known(root, part, (image_folder.TRAIN,))


def check(root: Path, known: Known, whose: Path) -> None:
    """Raise `UserError` where `root` has other classes than `whose`, a run or a model. Nothing is downloaded."""
    own, ours = is_pictures(root), ", ".join(known.classes)
    if known.pictures is not None and not own:
        raise UserError(f"{whose} knows {ours}: give the folder of its pictures with --data; {root} is not it")
    if known.classes != (found := classes(root)):
        theirs = f"but {root} has {', '.join(found)}" if own else "not the classes of CIFAR-10"
        raise UserError(f"{whose} knows {ours}: {theirs}; give its own data with --data")


def read_parts(root: Path, count: int, seed: int, *, exactly: bool = True) -> Parts:
    """The training images of `root`, of which `count` are held out, drawn by `seed`.

    Of pictures of one's own, those in validation/ are held out where there is such a folder; else a share of each class
    in train/: `count` of all or, unless that is meant `exactly`, a fifth of all where this is less. Raises `UserError`
    on damaged data and an impossible count.
    """
    if not is_pictures(root):
        return Parts(Known(cifar10.CLASSES), *cifar10.split(cifar10.read_training(root), count, seed))
    own = _read_own(root)
    if own.held_out and exactly and count != len(own.held_out.images):
        raise UserError(
            f"--validation-images is {count}, but {root / image_folder.VALIDATION} has {len(own.held_out.images)} "
            "pictures to hold out: leave out the flag, or remove the folder"
        )
    if not exactly:
        fifth = max(1, len(own.train.images) // _SHARE)
        count = min(count, fifth, max(1, image_folder.most_held_out(own.train)))
    return _divide(own, count, seed)


def read_again(root: Path, known: Known, count: int, seed: int, whose: Path) -> Parts:
    """The very parts that `whose`, a run or a model that knows `known`, was trained and judged on.

    Raises `UserError` where they are no longer there.
    """
    check(root, known, whose)
    if not is_pictures(root):
        cifar10.ensure_downloaded(root)
        return read_parts(root, count, seed)
    own = _read_own(root)
    if own.known != known:
        raise UserError(f"{root} has not the pictures that {whose} was trained on: restore them, or train a new run")
    return _divide(own, count, seed)


def read_test(root: Path, names: Sequence[str]) -> tuple[Images, dict[str, Any]]:
    """The test images of `root`, labelled by their places in `names`, and what `metrics.json` says about them.

    Says on standard error what is left out, what was trained on, and which classes have none. Raises `UserError` on
    damaged data, and classes that are not in `names`.
    """
    if not is_pictures(root):
        return cifar10.read_test(root), {"sha256": digests(root, cifar10.TEST_FILES)}
    part = image_folder.read(root, image_folder.TEST, names)
    image_folder.warn(root, image_folder.TEST, part)
    same = _count_known(root, image_folder.TEST, (image_folder.TRAIN, image_folder.VALIDATION))
    absent = [name for label, name in enumerate(names) if not (part.images.labels == label).any()]
    if absent:
        print(f"no picture of {', '.join(absent)} in {root / image_folder.TEST}: F1 counts as 0 there", file=sys.stderr)
    facts = {"also_trained_on": same, "left_out": len(part.skipped), "sha256": {image_folder.TEST: part.sha256()}}
    return part.images, facts


def sample(root: Path, count: int) -> npt.NDArray[np.uint8]:
    """Training images uint8 [count or fewer, 32, 32, 3]: the first ones of CIFAR-10, or some of each class."""
    if not is_pictures(root):
        cifar10.ensure_downloaded(root)
        return cifar10.read_training(root).pixels[:count]
    pixels = image_folder.read(root, image_folder.TRAIN, image_folder.classes(root)).images.pixels
    return pixels[np.linspace(0, len(pixels) - 1, min(count, len(pixels))).astype(np.int64)]


def digests(root: Path, names: Sequence[str]) -> dict[str, str]:
    """The SHA-256 of files of CIFAR-10."""
    return {name: files.sha256(root / cifar10.FOLDER / name) for name in names}


def are_unequal(counts: npt.NDArray[np.int64]) -> bool:
    """Whether classes of so many images each differ so much that accuracy says little about the small ones."""
    return bool(counts.max() > _UNEQUAL * counts.min())


def _read_own(root: Path) -> _Own:
    names = image_folder.classes(root)
    train = image_folder.read(root, image_folder.TRAIN, names)
    if not (root / image_folder.VALIDATION).is_dir():
        return _Own(Known(names, train.sha256()), train, None)
    held_out = image_folder.read(root, image_folder.VALIDATION, names)
    both = hashlib.sha256((train.sha256() + held_out.sha256()).encode()).hexdigest()
    return _Own(Known(names, both), train, held_out)


def _divide(own: _Own, count: int, seed: int) -> Parts:
    if own.held_out:
        return Parts(own.known, image_folder.shuffle(own.train, seed), own.held_out.images)
    return Parts(own.known, *(own.train.images.take(places) for places in image_folder.split(own.train, count, seed)))


def _count_known(root: Path, part: str, others: Sequence[str]) -> int:
    """How many files of `part` lie in `others` too; says so when there are any."""
    found = image_folder.list_files(root, part)
    same = image_folder.count_same(found, [path for other in others for path in image_folder.list_files(root, other)])
    if same:
        print(
            f"{same} of {len(found)} files in {root / part} are in {' or '.join(f'{other}/' for other in others)} too: "
            "what is measured on them says too much; remove them from one",
            file=sys.stderr,
        )
    return same
