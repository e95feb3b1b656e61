"""What a data set offers to training, evaluation and export, whichever kind it is.

`alexnet.datasets.open` makes one; cifar10.py and image_folder.py are the two kinds. No torch.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from alexnet.datasets.images import Images, Pixels
from alexnet.errors import UserError

_IMBALANCED: Final = 1.5  # times the images of the smallest class


@dataclass(frozen=True)
class Fingerprint:
    """Which data a model was trained on: its `classes` in the order of the labels and, of an image folder, the SHA-256
    of all pixels and labels that are not test images (None for CIFAR-10).
    """

    classes: tuple[str, ...]
    sha256: str | None = None

    @classmethod
    def of(cls, checkpoint: Mapping[str, Any]) -> "Fingerprint":
        """What `to_dict` put into a checkpoint."""
        return cls(tuple(checkpoint["classes"]), checkpoint.get("data_sha256"))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"classes": list(self.classes)} | ({} if self.sha256 is None else {"data_sha256": self.sha256})


@dataclass(frozen=True)
class Split:
    """The images to train on and those held out, on which the best epoch is chosen."""

    training: Images
    validation: Images


@dataclass(frozen=True)
class TestSet:
    """The test images, and what is to be published beside results on them.

    `sha256` in hexadecimal by name of a file or part. Of an image folder also: `paths` [N] below its root, with `/`;
    `also_trained_on`, how many test files lie in the training or validation part too; `unreadable`, how many files were
    left out.
    """

    __test__ = False  # pytest takes the name for a test case

    images: Images
    sha256: dict[str, str]
    paths: tuple[str, ...] | None = None
    also_trained_on: int | None = None
    unreadable: int | None = None


class Dataset(ABC):
    """CIFAR-10 or an image folder below `root`. Images are read when they are asked for."""

    root: Path

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """The class names in the order of the labels. Raises `UserError` on a folder without a training part."""

    @property
    @abstractmethod
    def fingerprint(self) -> Fingerprint:
        """What a model trained on this data remembers of it."""

    @property
    @abstractmethod
    def training_sha256(self) -> dict[str, str]:
        """The SHA-256 of the training data in hexadecimal, by name of a file or part."""

    @property
    def own_validation(self) -> int:
        """How many validation images the data itself has; 0 where they are drawn from the training images."""
        return 0

    @abstractmethod
    def prepare(self) -> None:
        """Decode what can be decoded once, and say on standard error what is wrong with some files."""

    @abstractmethod
    def split(self, validation_images: int, seed: int, *, exact: bool = True) -> Split:
        """The training images, of which `validation_images` are held out, drawn by `seed`.

        Without `exact`, an image folder holds out a fifth where that is less. Raises `UserError` on damaged data and an
        impossible number.
        """

    @abstractmethod
    def test(self, trained: Fingerprint, owner: Path) -> TestSet:
        """The test images, labelled by the classes of `trained`, the data of the model `owner`.

        Raises `UserError` on damaged data, and on classes that `trained` does not have.
        """

    @abstractmethod
    def sample(self, count: int) -> Pixels:
        """Training images, uint8 [`count` or fewer, 32, 32, 3]."""

    def check(self, trained: Fingerprint, owner: Path) -> None:
        """Raise `UserError` where the classes are not those of `trained`, the data of the run or model `owner`."""
        theirs = ", ".join(trained.classes)
        if self.classes != trained.classes:
            raise UserError(
                f"{owner} has the classes {theirs}, but {self.root} has {', '.join(self.classes)}; "
                "give its own data with --data"
            )

    def split_again(self, trained: Fingerprint, validation_images: int, seed: int, owner: Path) -> Split:
        """The very split that the run or model `owner` was trained and validated on.

        Raises `UserError` where the data is no longer the same.
        """
        self.check(trained, owner)
        if self.fingerprint != trained:
            raise UserError(
                f"{self.root} does not hold the images that {owner} was trained on: restore them, or train a new run"
            )
        return self.split(validation_images, seed)


def is_imbalanced(counts: npt.NDArray[np.int64]) -> bool:
    """Whether classes of so many images each differ so much that accuracy says little about the small ones."""
    return bool(counts.max() > _IMBALANCED * counts.min())
