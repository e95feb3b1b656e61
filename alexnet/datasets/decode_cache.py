"""Image files to pixels, decoded once: the result is cached in one file beside them while they stay the same.

In: a list of files of any size and kind. Out: pixels uint8 [N, 32, 32, 3] RGB by `alexnet.inference.decode`, the
SHA-256 of each file, and why some files gave none. The cache is valid while the list has the same paths, sizes and
times, and the decoder is the same.
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
from alexnet.datasets.images import Pixels
from alexnet.errors import ImageError
from alexnet.inference import decode
from alexnet.inference.cpus import usable_cpus

_MAX_BYTES: Final = 2**28  # of a file: what is larger is a video
_BLOCK: Final = 1024  # files handed to the threads at a time


@dataclass(frozen=True)
class Decoded:
    """The images that can be read: `pixels` uint8 [N, 32, 32, 3], `digests` uint8 [N, 32], the SHA-256 of their files.

    `errors` has the reason of each other one, by its place in the list of files.
    """

    pixels: Pixels
    digests: npt.NDArray[np.uint8]
    errors: dict[int, str]


@dataclass(frozen=True)
class File:
    """What a folder says of one entry: `time` of its last change in nanoseconds; `is_file`, or a link to one."""

    path: Path
    size: int
    time: int
    is_file: bool


def read(found: Sequence[File], cache: Path) -> Decoded:
    """Decode `found`, or take what the file `cache` has of them; written there, where that is possible."""
    key = _key(found, cache.parent)
    decoded = _load(cache, key, len(found))
    if decoded is None:
        decoded = _decode_all(found)
        _save(cache, key, decoded)
    return decoded


def _key(found: Sequence[File], root: Path) -> str:
    """Changes with what was decoded, and with the decoder. Nothing in it changes when the whole folder is moved."""
    listed = [(os.path.relpath(file.path, root), file.size, file.time, file.is_file) for file in found]
    code = [Path(__file__), *sorted(Path(decode.__file__).parent.rglob("*.py"))]
    decoder = [*map(files.sha256, code), PIL.__version__, SIDE]
    return hashlib.sha256(json.dumps([listed, decoder]).encode()).hexdigest()


def _decode_all(found: Sequence[File]) -> Decoded:
    pixels = np.empty((len(found), SIDE, SIDE, 3), np.uint8)
    digests = np.empty((len(found), hashlib.sha256().digest_size), np.uint8)
    errors: dict[int, str] = {}
    with ThreadPoolExecutor(usable_cpus(), "decode") as pool, Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("decoding", total=len(found))
        for first in range(0, len(found), _BLOCK):
            for place, result in enumerate(pool.map(_decode, found[first : first + _BLOCK]), first):
                if isinstance(result, str):
                    errors[place] = result
                else:
                    pixels[place], digests[place] = result
                progress.advance(task)
    good = np.delete(np.arange(len(found)), list(errors))
    return Decoded(pixels[good], digests[good], errors)


def _decode(file: File) -> tuple[Pixels, npt.NDArray[np.uint8]] | str:
    if not file.is_file:
        return "It is not a file, nor a link to one."
    if file.size > _MAX_BYTES:
        return f"It is larger than {_MAX_BYTES:,} bytes."
    try:
        content = file.path.read_bytes()
        digest = np.frombuffer(hashlib.sha256(content).digest(), np.uint8)
        return decode.decode(content, SIDE, SIDE), digest
    except ImageError as error:
        return str(error)
    except OSError as error:
        return f"It cannot be read ({error.strerror})."


def _load(path: Path, key: str, count: int) -> Decoded | None:
    """What `_save` wrote, unless it is of other files, damaged, or not there."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            if str(saved["key"]) != key:
                return None
            errors = {int(k): str(v) for k, v in json.loads(str(saved["errors"])).items()}
            decoded = Decoded(saved["pixels"], saved["digests"], errors)
    except (OSError, ValueError, EOFError, KeyError, AttributeError, TypeError, zipfile.BadZipFile):
        return None
    whole = decoded.pixels.dtype == np.uint8 and decoded.pixels.shape == (count - len(errors), SIDE, SIDE, 3)
    return decoded if whole and len(decoded.digests) == len(decoded.pixels) else None


def _save(path: Path, key: str, decoded: Decoded) -> None:
    errors = json.dumps(decoded.errors)
    try:
        with files.replacing(path) as partial, partial.open("wb") as file:
            np.savez(file, key=key, pixels=decoded.pixels, digests=decoded.digests, errors=errors)
    except OSError as error:
        print(f"{path} cannot be written ({error.strerror}): images are decoded each time", file=sys.stderr)
