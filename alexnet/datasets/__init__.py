"""Data sets: what `--data` names, to arrays.

In: the path of a folder with CIFAR-10 (cifar10.py) or with images in folders of their classes (image_folder.py).
Out: a `Dataset`: class names, pixels uint8 [N, side, side, 3] RGB and labels int64 [N] by part, digests, paths. numpy
and Pillow alone.
"""

from pathlib import Path

from alexnet.datasets import cifar10, folders
from alexnet.datasets.cifar10 import Cifar10
from alexnet.datasets.dataset import Dataset, Fingerprint, Split, TestSet, is_imbalanced
from alexnet.datasets.download import fetch_cifar10
from alexnet.datasets.image_folder import ImageFolder
from alexnet.datasets.images import Images
from alexnet.errors import UserError

__all__ = [
    "AbsentError",
    "Cifar10",
    "Dataset",
    "Fingerprint",
    "ImageFolder",
    "Images",
    "Split",
    "TestSet",
    "is_imbalanced",
    "open",
]


class AbsentError(UserError):
    """There is no data set where one is asked for."""


def open(root: Path, *, download: bool = False, side: int = cifar10.SIDE) -> Dataset:
    """The data set in `root`: CIFAR-10 where it is there, else an image folder. Nothing is read but names.

    The images of a folder are decoded to `side` x `side` pixels; those of CIFAR-10 have 32 x 32.

    Where there is neither, CIFAR-10 is downloaded if `download` says so, or `AbsentError` is raised. Raises `UserError`
    on a file, and on a folder that can be read in two ways.
    """
    if root.is_dir():
        if folder := cifar10.find(root):
            return Cifar10(root, folder)
        if (parts := folders.find_parts(root)) is not None:
            return ImageFolder(root, parts, side)
    elif root.exists() and not root.is_dir():  # a download beside this one may just have made it
        raise UserError(f"--data {root} is a file", "unpack it if it is an archive, and give the folder")
    if download:
        return Cifar10(root, fetch_cifar10(root))
    if not root.is_dir():
        raise AbsentError(
            f"--data {root}: no such folder", "give one with CIFAR-10 or your own images, or --download to get CIFAR-10"
        )
    raise AbsentError(
        f"--data {root} has no data set",
        f"put the images of each class into {root}/{folders.TRAIN}/<class>/, or give --download to get CIFAR-10",
    )
