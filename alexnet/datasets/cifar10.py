"""CIFAR-10 on disk to arrays in memory.

In: a folder that holds `cifar-10-batches-bin/` (the published *binary version*: records of one label byte followed by
1024 red, 1024 green and 1024 blue bytes, https://www.cs.toronto.edu/~kriz/cifar.html), downloaded when it is absent.
Out: pixels uint8 [N, 32, 32, 3] RGB and labels int64 [N] from 0 to 9. numpy only; torchvision is imported for the
download alone.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from alexnet.errors import UserError

CLASSES: Final = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FOLDER: Final = "cifar-10-batches-bin"
TRAIN_FILES: Final = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST_FILES: Final = ("test_batch.bin",)

_URL: Final = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_MD5: Final = "c32a1d4ab5d03f1284b67883e8d87530"
SIDE: Final = 32
_RECORD_BYTES: Final = 1 + 3 * SIDE * SIDE


@dataclass(frozen=True)
class Images:
    """Images and their classes: `pixels` uint8 [N, 32, 32, 3] RGB, `labels` int64 [N]."""

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        assert self.pixels.dtype == np.uint8
        assert self.pixels.ndim == 4
        assert self.pixels.shape[-1] == 3
        assert self.labels.shape == self.pixels.shape[:1]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: npt.NDArray[np.int64]) -> "Images":
        """The images at `indices` int64 [M], in that order."""
        return Images(self.pixels[indices], self.labels[indices])


def read_training(root: Path) -> Images:
    """The training images under `root`, in the order of the files. Raises `UserError` on a damaged file."""
    return _read(root, TRAIN_FILES)


def read_test(root: Path) -> Images:
    """The test images under `root`: for `evaluate` alone. Raises `UserError` on a damaged file."""
    return _read(root, TEST_FILES)


def split(images: Images, validation_images: int, seed: int) -> tuple[Images, Images]:
    """Training and validation part, drawn by a permutation that depends on `seed` alone.

    Raises `UserError` when nothing would be left to train on.
    """
    if not 0 < validation_images < len(images):
        raise UserError(
            f"--validation-images is {validation_images}, but there are {len(images)} images: "
            f"give 1 to {len(images) - 1}"
        )
    order = np.random.default_rng(seed).permutation(len(images))
    return images.take(order[validation_images:]), images.take(order[:validation_images])


def ensure_downloaded(root: Path) -> None:
    """Download the published archive to `root` and unpack it, unless its folder is already there.

    Raises `UserError` when the archive cannot be had, or torchvision is needed for it and not installed.
    """
    if (root / FOLDER).is_dir():
        return
    try:
        from torchvision.datasets.utils import download_and_extract_archive
    except ImportError as error:
        raise UserError(
            f"no CIFAR-10 in {root}: unpack cifar-10-binary.tar.gz there (it makes {FOLDER}/), "
            "or install the train extra, which downloads it"
        ) from error
    try:
        download_and_extract_archive(_URL, str(root), md5=_MD5)
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"could not download {_URL} ({reason}): get it by other means and unpack it in {root}"
        ) from error


def _read(root: Path, names: tuple[str, ...]) -> Images:
    parts = [_read_file(root / FOLDER / name) for name in names]
    return Images(np.concatenate([p.pixels for p in parts]), np.concatenate([p.labels for p in parts]))


def _read_file(path: Path) -> Images:
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; unpack cifar-10-binary.tar.gz in {path.parent.parent}") from error
    remedy = f"delete {path.parent} to have it downloaded again"
    if len(content) == 0 or len(content) % _RECORD_BYTES:
        raise UserError(f"{path}: {len(content)} bytes, not a multiple of {_RECORD_BYTES}: cut short? {remedy}")
    records = content.reshape(-1, _RECORD_BYTES)
    labels = records[:, 0].astype(np.int64)
    if labels.max() >= len(CLASSES):
        first = int(np.argmax(labels >= len(CLASSES)))
        raise UserError(f"{path}: record {first} has label {labels[first]}, more than {len(CLASSES) - 1}: {remedy}")
    pixels = records[:, 1:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return Images(np.ascontiguousarray(pixels), labels)
