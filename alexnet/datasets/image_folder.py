"""A folder of one's own pictures to arrays: `train/<class>/`, `test/<class>/` and, if wanted, `validation/<class>/`.

In: such a folder, with pictures of any size, in every format that the service reads. Out: pixels uint8 [N, 32, 32, 3]
RGB and labels int64 [N], in the order of the classes and paths (decoded.py makes and keeps them). No torch.
"""

import hashlib
import os
import sys
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from alexnet import files
from alexnet.datasets import decode_cache
from alexnet.datasets.cifar10 import Images
from alexnet.datasets.decode_cache import File
from alexnet.errors import UserError
from alexnet.inference.decode import FORMATS

TRAIN: Final = "train"
VALIDATION: Final = "validation"
TEST: Final = "test"

_NAMED: Final = 5  # files that a warning names


@dataclass(frozen=True)
class Part:
    """The pictures of `train/`, `validation/` or `test/`: `paths` of the `images`, in their order.

    `skipped` has a line for each file that is no picture that can be read, with the reason.
    """

    images: Images
    paths: tuple[Path, ...]
    skipped: tuple[str, ...]

    def sha256(self) -> str:
        """Of the pixels and labels, in hexadecimal."""
        found = hashlib.sha256(self.images.labels.astype("<i8").tobytes())
        found.update(self.images.pixels.tobytes())
        return found.hexdigest()


def is_folder(root: Path) -> bool:
    """Whether `root` is such a folder. Raises `UserError` on pictures in folders that are neither train/ nor test/."""
    if any((root / name).is_dir() for name in (TRAIN, TEST)):
        return True
    folders = [item for item in _visible(root) if item.is_dir()] if root.is_dir() else []
    with_pictures = [folder.name for folder in folders if any(map(_looks_like_a_picture, _visible(Path(folder))))]
    if len(with_pictures) > 1:
        raise UserError(
            f"{root} has pictures in {' and '.join(with_pictures[:2])}, but no {TRAIN}/: put those of each class to "
            f"learn into {root}/{TRAIN}/<class>/, and those to measure with into {root}/{TEST}/<class>/"
        )
    return False


def classes(root: Path) -> tuple[str, ...]:
    """The classes of `root`: the names of the folders in train/, sorted.

    Raises `UserError` on fewer than two, and on classes in validation/ or test/ that are not in train/.
    """
    names = tuple(_class_folders(root / TRAIN))
    if len(names) < 2:
        has = f"has one class, {names[0]}" if names else "has no classes"
        raise UserError(f"{root / TRAIN} {has}; two are needed at least, each in a folder of its name")
    for part in (VALIDATION, TEST):
        if (root / part).is_dir():
            _check_known(root / part, names)
    return names


def read(root: Path, part: str, names: Sequence[str]) -> Part:
    """The pictures of `part` of `root`, labelled by their classes' places in `names`; decoded, or as kept from before.

    Raises `UserError` when there is no such part, a class that is not in `names`, no picture at all, or, in train/, a
    class without one.
    """
    listed = list(_list(root / part, names))
    pixels, reasons = decode_cache.read([file for _, file in listed], root / f".{part}.npz")
    good = [item for place, item in enumerate(listed) if place not in reasons]
    labels = np.array([label for label, _ in good], np.int64)
    counts = np.bincount(labels, minlength=len(names))
    if part == TRAIN and not counts.all():
        folder = root / part / names[int(counts.argmin())]
        raise UserError(f"{folder} has no picture that can be read: put some there, or remove the folder")
    if not good:
        raise UserError(f"{root / part} has no picture that can be read: put some there, in folders of their classes")
    skipped = tuple(f"{listed[place][1].path}: {reason}" for place, reason in reasons.items())
    return Part(Images(pixels, labels), tuple(file.path for _, file in good), skipped)


def split(part: Part, count: int, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Places int64 of the pictures to train on, and of `count` to hold out: of each class its share, drawn by `seed`.

    Fewer held out are always among the more, and each class keeps one to train on at least. Raises `UserError` when
    `count` is none, or too many for that.
    """
    labels, rng = part.images.labels, np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    counts = np.bincount(labels)
    turn = np.empty(len(labels))
    for label, size in enumerate(counts):
        own = order[labels[order] == label]
        turn[own] = (np.arange(len(own)) + 0.5) / size
        turn[own[-1:]] = np.inf
    most = most_held_out(part)
    if not 0 < count <= most:
        remedy = f"give 1 to {most}" if most else f"add some, or put others into {VALIDATION}/"
        raise UserError(
            f"--validation-images is {count}, but {TRAIN}/ has {len(labels)} pictures of {len(counts)} classes, of "
            f"which one each is kept to train on: {remedy}"
        )
    chosen = order[np.argsort(turn[order], kind="stable")[:count]]
    return order[~np.isin(order, chosen)], chosen


def most_held_out(part: Part) -> int:
    """How many pictures can be held out when each class keeps one."""
    return len(part.images) - len(np.unique(part.images.labels))


def shuffle(part: Part, seed: int) -> Images:
    """All pictures, in an order drawn by `seed`: the first ones are a sample of all."""
    return part.images.take(np.random.default_rng(seed).permutation(len(part.images)))


def list_files(root: Path, part: str) -> list[Path]:
    """All that lies in the classes of `part`, none of which is opened; empty where there is no such part."""
    folders = _class_folders(root / part).values() if (root / part).is_dir() else ()
    return [Path(item) for folder in folders for item in _walk(folder)]


def count_same(these: Collection[Path], those: Collection[Path]) -> int:
    """How many of `these` files are, byte for byte, one of `those`; only files of equal size are opened."""
    sizes = [{path: path.stat().st_size for path in some if path.is_file()} for some in (these, those)]
    common = set(sizes[0].values()) & set(sizes[1].values())
    ours, theirs = ([_digest(path) for path, size in some.items() if size in common] for some in sizes)
    known = set(theirs) - {None}
    return sum(digest in known for digest in ours)


def _digest(path: Path) -> str | None:
    try:
        return files.sha256(path)
    except OSError:  # left out and named where it is decoded
        return None


def warn(root: Path, part: str, read: Part) -> None:
    """Say on standard error what of `part` was left out: what cannot be read, and what lies in no class."""
    for line in read.skipped[:_NAMED]:
        print(f"left out: {line}", file=sys.stderr)
    if len(read.skipped) > _NAMED:
        print(f"left out: {len(read.skipped) - _NAMED} more in {root / part}", file=sys.stderr)
    outside = sum(not item.is_dir() for item in _visible(root / part))
    if outside:
        files_of_none = f"{outside} file{'s' * (outside > 1)}"
        print(f"left out: {files_of_none} in {root / part} itself, which is in no class", file=sys.stderr)


def _class_folders(folder: Path) -> dict[str, Path]:
    """The folders in `folder`, or links to some, by their names as they are typed (composed, where a Mac has taken
    letters and accents apart), sorted.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; put the pictures of each class into {folder}/<class>/")
    found: dict[str, Path] = {}
    for item in _visible(folder):
        if item.is_dir():
            name = unicodedata.normalize("NFC", item.name)
            if name in found or not name.isprintable():
                raise UserError(
                    f"{item.path!r}: cannot be the name of a class (it cannot be printed, or another folder has the "
                    "same); rename the folder"
                )
            found[name] = Path(item)
    return dict(sorted(found.items()))


def _check_known(folder: Path, names: Sequence[str]) -> None:
    foreign = sorted(_class_folders(folder).keys() - set(names))
    if foreign:
        raise UserError(
            f"{folder} has the class {foreign[0]}, which is not among those learnt ({', '.join(names)}): "
            f"rename or remove it, or add it to {TRAIN}/ and train"
        )


def _list(folder: Path, names: Sequence[str]) -> Iterator[tuple[int, File]]:
    """The label and the file of all that lies in the folders of the classes."""
    folders = _class_folders(folder)
    _check_known(folder, names)
    for label, name in enumerate(names):
        if name in folders:
            for item in _walk(folders[name]):
                is_file = item.is_file()
                status = item.stat(follow_symlinks=is_file)
                yield label, File(Path(item), status.st_size, status.st_mtime_ns, is_file)


def _walk(folder: Path) -> Iterator[os.DirEntry[str]]:
    """All but folders, in `folder` and below, by name. Links to folders are not followed: they can lead round."""
    for item in _visible(folder):
        if item.is_dir(follow_symlinks=False):
            yield from _walk(Path(item))
        else:
            yield item


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        return sorted((item for item in found if not item.name.startswith(".")), key=lambda item: item.name)


def _looks_like_a_picture(item: os.DirEntry[str]) -> bool:
    return item.name.lower().endswith((".jpg", *(f".{name.lower()}" for name in FORMATS))) and item.is_file()
