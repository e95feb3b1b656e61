"""Picture files to pixels, once: what was decoded stays in one file beside them, for as long as they are the same.

In: a list of files of any size and kind. Out: pixels uint8 [N, 32, 32, 3] RGB, by the service's own decode, and why
some files gave none. What is kept counts while the list has the same paths, sizes and times, and decode is the same.
"""

import hashlib
import json
import os
import sys
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import PIL
from rich.console import Console
from rich.progress import Progress

from alexnet import files
from alexnet.datasets.cifar10 import SIDE
from alexnet.errors import ImageError
from alexnet.inference import decode
from alexnet.inference.cpus import usable_cpus

Decoded = tuple[npt.NDArray[np.uint8], dict[int, str]]

_MOST_BYTES: Final = 2**28  # of a file: what is larger is a film that came along
_BLOCK: Final = 1024  # files handed to the threads at a time


@dataclass(frozen=True)
class File:
    """What a folder says of one entry: `time` of its last change in nanoseconds; `is_file`, or a link to one."""

    path: Path
    size: int
    time: int
    is_file: bool


def read(found: Sequence[File], kept: Path) -> Decoded:
    """The pixels of the good ones of `found`, in their order, and, by place in `found`, the reason of each other one.

    Taken from the file `kept`, or decoded and written there; where that may not be written, each time anew.
    """
    key = _key(found, kept.parent)
    loaded = _load(kept, key, len(found))
    if loaded is None:
        loaded = _decode_all(found)
        _keep(kept, key, *loaded)
    return loaded


def _key(found: Sequence[File], root: Path) -> str:
    """What was decoded, and by what: it changes with either. Nothing in it changes when the whole folder is moved."""
    listed = [(os.path.relpath(file.path, root), file.size, file.time, file.is_file) for file in found]
    decoder = [files.sha256(Path(decode.__file__)), PIL.__version__, SIDE]
    return hashlib.sha256(json.dumps([listed, decoder]).encode()).hexdigest()


def _decode_all(found: Sequence[File]) -> Decoded:
    pixels = np.empty((len(found), SIDE, SIDE, 3), np.uint8)
    reasons: dict[int, str] = {}
    with ThreadPoolExecutor(usable_cpus(), "decode") as pool, Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("decoding", total=len(found))
        for first in range(0, len(found), _BLOCK):
            for place, result in enumerate(pool.map(_decode, found[first : first + _BLOCK]), first):
                if isinstance(result, str):
                    reasons[place] = result
                else:
                    pixels[place] = result
                progress.advance(task)
    return np.delete(pixels, list(reasons), axis=0), reasons


def _decode(file: File) -> npt.NDArray[np.uint8] | str:
    if not file.is_file:
        return "It is no file, nor a link to one."
    if file.size > _MOST_BYTES:
        return f"It is larger than {_MOST_BYTES:,} bytes."
    try:
        return decode.decode(file.path.read_bytes(), SIDE, SIDE)
    except ImageError as error:
        return str(error)
    except OSError as error:
        return f"It cannot be read ({error.strerror})."


def _load(path: Path, key: str, count: int) -> Decoded | None:
    """What `_keep` wrote, unless it is of other files, damaged, or not there."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            if str(kept["key"]) != key:
                return None
            pixels, reasons = kept["pixels"], {int(k): str(v) for k, v in json.loads(str(kept["reasons"])).items()}
    except (OSError, ValueError, EOFError, KeyError, AttributeError, TypeError, zipfile.BadZipFile):
        return None
    whole = pixels.dtype == np.uint8 and pixels.shape == (count - len(reasons), SIDE, SIDE, 3)
    return (pixels, reasons) if whole else None


def _keep(path: Path, key: str, pixels: npt.NDArray[np.uint8], reasons: dict[int, str]) -> None:
    try:
        with files.replacing(path) as partial, partial.open("wb") as file:
            np.savez(file, key=key, pixels=pixels, reasons=json.dumps(reasons))
    except OSError as error:
        print(f"{path} cannot be written ({error.strerror}): the pictures are decoded each time", file=sys.stderr)
