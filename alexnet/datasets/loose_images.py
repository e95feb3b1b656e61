"""A folder of images, in any nesting, to pixels: each decoded as the service does it.

In: a folder. Out: pixels uint8 [N, height, width, 3] RGB in the order of the paths, and one digest of all files. Files
that are not named like images are passed over; what cannot be decoded is left out and named on standard error.
"""

import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import Progress

from alexnet.datasets import folders
from alexnet.errors import ImageError, UserError
from alexnet.inference.cpus import usable_cpus
from alexnet.inference.decode import decode
from alexnet.inference.formats import SUFFIXES

_NAMED: Final = 5  # of the files that are left out


@dataclass(frozen=True)
class LooseImages:
    """`pixels` uint8 [N, height, width, 3]; `sha256` of the paths and contents of their files, in hexadecimal."""

    pixels: npt.NDArray[np.uint8]
    sha256: str

    def __len__(self) -> int:
        return len(self.pixels)


def read(folder: Path, height: int, width: int) -> LooseImages:
    """All images below `folder`. Raises `UserError` where there is none that can be read."""
    paths = _find(folder)
    images: list[npt.NDArray[np.uint8]] = []
    wrong: list[str] = []
    digest = hashlib.sha256()
    with ThreadPoolExecutor(usable_cpus()) as pool, Progress(console=Console(stderr=True)) as progress:
        found = pool.map(lambda path: _decode(path, height, width), paths)
        for path, result in progress.track(zip(paths, found, strict=True), len(paths), description=folder.name):
            if isinstance(result, str):
                wrong.append(f"{path}: {result}")
            else:
                pixels, sha256 = result
                images.append(pixels)
                digest.update(f"{path.relative_to(folder).as_posix()}\n{sha256}\n".encode())
    for line in wrong[:_NAMED]:
        print(f"left out: {line}", file=sys.stderr)
    if len(wrong) > _NAMED:
        print(f"left out: {len(wrong) - _NAMED} more in {folder}", file=sys.stderr)
    if not images:
        raise UserError(f"{folder}: none of its {len(paths)} images can be read")
    return LooseImages(np.stack(images), digest.hexdigest())


def _find(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a folder of images")
    found = [Path(item) for item in folders.walk(folder) if item.name.lower().endswith(SUFFIXES)]
    if not found:
        raise UserError(f"{folder} has no images ({', '.join(SUFFIXES)})")
    return sorted(found)


def _decode(path: Path, height: int, width: int) -> tuple[npt.NDArray[np.uint8], str] | str:
    try:
        content = path.read_bytes()
        return decode(content, height, width), hashlib.sha256(content).hexdigest()
    except ImageError as error:
        return str(error)
    except OSError as error:
        return error.strerror or type(error).__name__
