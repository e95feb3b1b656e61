"""A folder of images to arrays: `train/<class>/`, `test/<class>/` and, if wanted, `validation/<class>/`.

In: such a folder, with images of any size, in every format that the service reads; or folders of the classes alone,
which are split here. Out: pixels uint8 [N, side, side, 3] RGB and labels int64 [N], in the order of the classes and
paths (decode_cache.py makes and keeps the pixels).
"""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from alexnet.datasets import decode_cache, draw, folders
from alexnet.datasets.cifar10 import SIDE
from alexnet.datasets.dataset import Dataset, Fingerprint, Split, TestSet
from alexnet.datasets.decode_cache import File
from alexnet.datasets.folders import TEST, TRAIN, VALIDATION, check_classes
from alexnet.datasets.images import Images, Labels, Pixels
from alexnet.errors import UserError

_FRACTION: Final = 5  # one in so many images is held out, and tested on in a folder without parts
_TEST_SEED: Final = 0  # the test images of a folder without parts: the same ones for every run
_NAMED: Final = 5  # files that a warning names
_BLOCK: Final = 1024  # images that are hashed at a time


@dataclass(frozen=True)
class Part:
    """The images of a part and, in their order, the `paths` and the SHA-256 `digests` uint8 [N, 32] of their files.

    `skipped` has a line for each file that cannot be read as an image, with the reason.
    """

    images: Images
    paths: tuple[Path, ...]
    digests: npt.NDArray[np.uint8]
    skipped: tuple[str, ...] = ()

    def take(self, indices: Labels) -> "Part":
        """The images at `indices` int64 [M], in that order."""
        return Part(self.images.take(indices), tuple(self.paths[i] for i in indices), self.digests[indices])

    def sha256(self) -> str:
        """Of the labels and pixels, in hexadecimal."""
        found = hashlib.sha256(self.images.labels.astype("<i8").tobytes())
        for first in range(0, len(self.images), _BLOCK):
            found.update(self.images.pixels[first : first + _BLOCK].tobytes())
        return found.hexdigest()


class ImageFolder(Dataset):
    """Images below `root`; `parts` are the folders of its parts, none where the folders in `root` are the classes.

    They are decoded to `side` x `side` pixels.
    """

    def __init__(self, root: Path, parts: dict[str, Path], side: int = SIDE) -> None:
        self.root = root
        self.parts = parts
        self.side = side

    @cached_property
    def classes(self) -> tuple[str, ...]:
        folder = self._folder(TRAIN) if self.parts else self.root
        names = tuple(folders.class_folders(folder))
        if len(names) < 2:
            has = f"has one class, {names[0]}" if names else "has no classes"
            raise UserError(f"{folder} {has}", "two are needed at least, each in a folder of its name")
        for part in (VALIDATION, TEST):
            if part in self.parts:
                check_classes(self.parts[part], names)
        return names

    @cached_property
    def fingerprint(self) -> Fingerprint:
        digest = self.train.sha256()
        if self._validation:
            digest = hashlib.sha256((digest + self._validation.sha256()).encode()).hexdigest()
        return Fingerprint(self.classes, digest)

    @property
    def training_sha256(self) -> dict[str, str]:
        return {"images": self.fingerprint.sha256 or ""}

    @property
    def own_validation(self) -> int:
        return len(self._validation.images) if self._validation else 0

    def prepare(self) -> None:
        if not self.parts:
            self._say_split()
        for part, read in ((TRAIN, self.train), (VALIDATION, self._validation)):
            if read:
                self._warn(part, read)
        for part in (VALIDATION, TEST):
            self._count_trained_on(part, (TRAIN,))

    def split(self, validation_images: int, seed: int, *, exact: bool = True) -> Split:
        train, validation = self.train, self._validation
        labels, digests = train.images.labels, train.digests
        order = np.random.default_rng(seed).permutation(len(labels))
        if validation:
            if exact and validation_images != len(validation.images):
                raise UserError(
                    f"--validation-images is {validation_images}, but {self.parts[VALIDATION]} has "
                    f"{len(validation.images)} images to hold out: leave out the flag, or remove the folder"
                )
            return Split(train.images.take(order), validation.images)
        most = draw.most(labels, digests)
        if not exact:
            validation_images = min(validation_images, max(1, len(labels) // _FRACTION), max(1, most))
        if exact and validation_images == 0:
            return Split(train.images.take(order), train.images.take(order[:0]))
        if not 0 < validation_images <= most:
            remedy = f"give 0 to {most}" if most else f"add some, or put others into {VALIDATION}/"
            raise UserError(
                f"--validation-images is {validation_images}, but {TRAIN}/ has {len(labels)} images of "
                f"{len(self.classes)} classes, of which one each is kept to train on: {remedy}"
            )
        chosen = draw.held_out(labels, digests, validation_images, seed)
        return Split(train.images.take(order[~chosen[order]]), train.images.take(order[chosen[order]]))

    def held_out(self, validation_images: int, seed: int) -> npt.NDArray[np.bool_] | None:
        """Which images of `train` are held out by `split`, bool [N], of so many; None where there is `validation/`."""
        if VALIDATION in self.parts:
            return None
        return draw.held_out(self.train.images.labels, self.train.digests, validation_images, seed)

    def test(self, trained: Fingerprint, owner: Path) -> TestSet:
        if self.parts:
            part = self._read(self._folder(TEST), TEST, trained.classes)
            self._warn(TEST, part)
        else:
            self._say_split()
            check_classes(self.root, trained.classes)
            places = np.array([trained.classes.index(name) for name in self.classes])
            drawn = self._train_and_test[1]
            assert drawn is not None
            part = replace(drawn, images=Images(drawn.images.pixels, places[drawn.images.labels]))
        also_trained_on = self._count_trained_on(TEST, (TRAIN, VALIDATION))
        absent = [name for label, name in enumerate(trained.classes) if not (part.images.labels == label).any()]
        if absent:
            where = self.parts.get(TEST, self.root)
            print(f"no test image of {', '.join(absent)} in {where}: F1 counts as 0 there", file=sys.stderr)
        paths = tuple(path.relative_to(self.root).as_posix() for path in part.paths)
        return TestSet(part.images, {TEST: part.sha256()}, paths, also_trained_on, len(part.skipped))

    def sample(self, count: int) -> Pixels:
        """Training images, some of each class."""
        pixels = self.train.images.pixels
        return pixels[np.linspace(0, len(pixels) - 1, min(count, len(pixels))).astype(np.int64)]

    @property
    def train(self) -> Part:
        """The images to train on, in the order of the classes and paths; none is held out of them."""
        return self._train_and_test[0]

    @cached_property
    def _train_and_test(self) -> tuple[Part, Part | None]:
        """The part to train on; and, of a folder without parts, the one to test on."""
        if self.parts:
            return self._read(self._folder(TRAIN), TRAIN, self.classes), None
        whole = self._read(self.root, "images", self.classes)
        labels, digests = whole.images.labels, whole.digests
        count = min(max(1, len(labels) // _FRACTION), draw.most(labels, digests))
        if not count:
            raise UserError(f"{self.root} has too few images to train and to test on: add some to each class")
        chosen = draw.held_out(labels, digests, count, _TEST_SEED)
        train = whole.take(np.flatnonzero(~chosen))
        return replace(train, skipped=whole.skipped), whole.take(np.flatnonzero(chosen))

    @cached_property
    def _validation(self) -> Part | None:
        if VALIDATION not in self.parts:
            return None
        return self._read(self.parts[VALIDATION], VALIDATION, self.classes)

    def _folder(self, part: str) -> Path:
        return self.parts.get(part, self.root / part)

    def _read(self, folder: Path, part: str, names: Sequence[str]) -> Part:
        """The images of `folder`, labelled by their classes' places in `names`.

        Raises `UserError` when it is absent, has a class that is not in `names`, no image at all, or, where it is
        trained on, a class without one.
        """
        listed = list(_list(folder, names))
        decoded = decode_cache.read([file for _, file in listed], self.root / f".{part}-{self.side}", self.side)
        good = [item for place, item in enumerate(listed) if place not in decoded.errors]
        labels = np.array([label for label, _ in good], np.int64)
        counts = np.bincount(labels, minlength=len(names))
        if part not in (TEST, VALIDATION) and not counts.all():
            empty = folder / names[int(counts.argmin())]
            raise UserError(f"{empty} has no image that can be read: put some there, or remove the folder")
        if not good:
            raise UserError(f"{folder} has no image that can be read: put some there, in folders of their classes")
        skipped = tuple(f"{listed[place][1].path}: {reason}" for place, reason in decoded.errors.items())
        paths = tuple(file.path for _, file in good)
        return Part(Images(decoded.pixels, labels), paths, decoded.digests, skipped)

    def list_files(self, part: str) -> list[Path]:
        """All that lies in the classes of `part`, none of which is opened; empty where there is no such part."""
        if part not in self.parts:
            return []
        return [
            Path(item) for folder in folders.class_folders(self.parts[part]).values() for item in folders.walk(folder)
        ]

    def _say_split(self) -> None:
        train, test = self._train_and_test
        assert test is not None
        print(
            f"{self.root} has no {TRAIN}/: its {len(self.classes)} folders are the classes; {len(test.images)} images "
            f"are drawn to test on (seed {_TEST_SEED}, copies together), {len(train.images)} to train on",
            file=sys.stderr,
        )

    def _warn(self, part: str, read: Part) -> None:
        """Say on standard error what of `part` was left out, and which files are there twice."""
        folder = self.parts.get(part, self.root)
        for line in read.skipped[:_NAMED]:
            print(f"left out: {line}", file=sys.stderr)
        if len(read.skipped) > _NAMED:
            print(f"left out: {len(read.skipped) - _NAMED} more in {folder}", file=sys.stderr)
        outside = sum(not item.is_dir() for item in folders.visible(folder))
        if outside:
            files_of_none = f"{outside} file{'s' * (outside > 1)}"
            print(f"left out: {files_of_none} in {folder} itself, which is in no class", file=sys.stderr)
        copies = draw.find_copies(read.images.labels, read.digests)
        if copies.repeated:
            print(f"{copies.repeated} of {len(read.paths)} files in {folder} are copies of another", file=sys.stderr)
        if copies.contradictory:
            first, second = (read.paths[place] for place in copies.contradictory)
            print(f"the same image is in two classes: {first} and {second}; remove one", file=sys.stderr)

    def _count_trained_on(self, part: str, others: Sequence[str]) -> int:
        """How many files of `part` lie in `others` too; says so when there are any."""
        found = self.list_files(part)
        same = folders.count_same(found, [path for other in others for path in self.list_files(other)])
        if same:
            names = " or ".join(f"{other}/" for other in others)
            print(
                f"{same} of {len(found)} files in {self.parts[part]} are in {names} too: "
                "what is measured on them is too good; remove them from one",
                file=sys.stderr,
            )
        return same


def _list(folder: Path, names: Sequence[str]) -> Iterator[tuple[int, File]]:
    """The label and the file of all that lies in the folders of the classes."""
    found = folders.class_folders(folder)
    check_classes(folder, names)
    for label, name in enumerate(names):
        if name in found:
            for item in folders.walk(found[name]):
                is_file = item.is_file()
                status = item.stat(follow_symlinks=is_file)
                yield label, File(Path(item), status.st_size, status.st_mtime_ns, is_file)
