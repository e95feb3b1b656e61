"""CIFAR-10 on disk to arrays in memory.

In: a folder with `cifar-10-batches-bin/` (the published *binary version*: records of one label byte followed by 1024
red, 1024 green and 1024 blue bytes, https://www.cs.toronto.edu/~kriz/cifar.html) or `cifar-10-batches-py/` (the
*Python version*, pickled dictionaries of the same records), or one of these two folders itself. Out: pixels uint8
[N, 32, 32, 3] RGB and labels int64 [N] from 0 to 9, in the order of the files.
"""

import hashlib
import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from alexnet.datasets.dataset import Dataset, Fingerprint, Split, TestSet
from alexnet.datasets.images import Images, Pixels
from alexnet.errors import UserError

CLASSES: Final = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FOLDER: Final = "cifar-10-batches-bin"
PYTHON_FOLDER: Final = "cifar-10-batches-py"
TRAIN_FILES: Final = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST_FILES: Final = ("test_batch.bin",)
SIDE: Final = 32

RECORD_BYTES: Final = 1 + 3 * SIDE * SIDE
# What the pickles of the Python version need: arrays of numbers, and no other code.
_PICKLED: Final = {
    "_reconstruct": np.empty(0).__reduce__()[0],
    "ndarray": np.ndarray,
    "dtype": np.dtype,
    "encode": str.encode,
}


class Cifar10(Dataset):
    """CIFAR-10 in `folder`, one of the two published versions, which `root` names or holds."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root
        self.folder = folder

    @property
    def classes(self) -> tuple[str, ...]:
        return CLASSES

    @property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint(CLASSES)

    @property
    def training_sha256(self) -> dict[str, str]:
        """Of the binary version's files, whichever version is here: their records are the same."""
        return self._digests(TRAIN_FILES)

    def prepare(self) -> None:
        pass

    def split(self, validation_images: int, seed: int, *, exact: bool = True) -> Split:
        return split(self.training(), validation_images, seed)

    def training(self) -> Images:
        """All training images. Raises `UserError` on a damaged file."""
        return self._read(TRAIN_FILES)

    def test(self, trained: Fingerprint, owner: Path) -> TestSet:
        self.check(trained, owner)
        return TestSet(self.test_images(), self._digests(TEST_FILES))

    def test_images(self) -> Images:
        """The test images: for `evaluate` alone. Raises `UserError` on a damaged file."""
        return self._read(TEST_FILES)

    def sample(self, count: int) -> Pixels:
        return self.training().pixels[:count]

    def _read(self, names: Sequence[str]) -> Images:
        records = np.concatenate([_records(self.folder / name) for name in names])
        pixels = records[:, 1:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
        return Images(np.ascontiguousarray(pixels), records[:, 0].astype(np.int64))

    def _digests(self, names: Sequence[str]) -> dict[str, str]:
        return {name: hashlib.sha256(_records(self.folder / name).data).hexdigest() for name in names}


def find(root: Path) -> Path | None:
    """The folder of CIFAR-10 that `root` holds or is, the binary version first; None where there is none."""
    for name, file in ((FOLDER, TRAIN_FILES[0]), (PYTHON_FOLDER, Path(TRAIN_FILES[0]).stem)):
        if (root / name).is_dir():
            return root / name
        if root.name == name or (root / file).is_file():
            return root
    return None


def split(images: Images, validation_images: int, seed: int) -> Split:
    """Training and validation part, drawn by a permutation that depends on `seed` alone.

    Raises `UserError` when nothing would be left to train on.
    """
    if not 0 <= validation_images < len(images):
        raise UserError(
            f"--validation-images is {validation_images}, but there are {len(images)} images: "
            f"give 0 to {len(images) - 1}"
        )
    order = np.random.default_rng(seed).permutation(len(images))
    return Split(images.take(order[validation_images:]), images.take(order[:validation_images]))


def _records(path: Path) -> npt.NDArray[np.uint8]:
    """The records of a file of the binary version, uint8 [N, 3073]; or of its twin of the Python version."""
    pickled = path.with_suffix("")
    is_python = path.parent.name == PYTHON_FOLDER or (pickled.exists() and not path.exists())
    path = pickled if is_python else path
    archive = "cifar-10-python.tar.gz" if is_python else "cifar-10-binary.tar.gz"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; unpack {archive} in {path.parent.parent}") from error
    remedy = f"delete {path.parent} and unpack {archive} again"
    if is_python:
        records = _unpickle(path, content, remedy)
    elif len(content) == 0 or len(content) % RECORD_BYTES:
        raise UserError(f"{path}: {len(content)} bytes, not a multiple of {RECORD_BYTES}: cut short? {remedy}")
    else:
        records = np.frombuffer(content, np.uint8).reshape(-1, RECORD_BYTES)
    labels = records[:, 0]
    if labels.max() >= len(CLASSES):
        first = int(np.argmax(labels >= len(CLASSES)))
        raise UserError(f"{path}: record {first} has label {labels[first]}, more than {len(CLASSES) - 1}: {remedy}")
    return records


class _Unpickler(pickle.Unpickler):
    """Reads arrays and plain values; a pickle that names anything else is refused, since it could run any code."""

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] in ("numpy", "_codecs") and name in _PICKLED:
            return _PICKLED[name]
        raise pickle.UnpicklingError(f"{module}.{name} is not an array")


def _unpickle(path: Path, content: bytes, remedy: str) -> npt.NDArray[np.uint8]:
    try:
        batch = _Unpickler(io.BytesIO(content), encoding="latin1").load()
        labels = np.asarray(batch["labels"], np.uint8)
        return np.concatenate([labels[:, np.newaxis], batch["data"].astype(np.uint8, casting="safe")], axis=1)
    except Exception as error:  # a damaged pickle raises what its bytes happen to mean
        raise UserError(f"{path}: not a batch of CIFAR-10's Python version ({error}): {remedy}") from error
