"""Image files to pixels, decoded once: the result is cached beside them while they stay the same.

In: a list of files of any size and kind. Out: pixels uint8 [N, side, side, 3] RGB by `alexnet.inference.decode`, the
SHA-256 of each file, and why some files gave none. The pixels are a memory-mapped file (.npy), what else is known of
them is in another (.npz). Both are valid while the list has the same paths, sizes and times, and the decoder is the
same.
"""

import hashlib
import io
import json
import os
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt
import PIL
from rich.console import Console
from rich.progress import Progress

from alexnet import files
from alexnet.datasets.images import Pixels
from alexnet.errors import ImageError
from alexnet.inference import decode
from alexnet.inference.cpus import usable_cpus

_MAX_BYTES: Final = 2**28  # of a file: what is larger is a video
_BLOCK: Final = 256  # files handed to the threads at a time


@dataclass(frozen=True)
class Decoded:
    """The images that can be read: `pixels` uint8 [N, side, side, 3].

    `digests` uint8 [N, 32] are the SHA-256 of their files; `errors` has the reason of each other one, by its
    place in the list of files.
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


@dataclass(frozen=True)
class _Facts:
    """What is known of the pixels: `digests` uint8 [N, 32], and why other files gave none, by their places."""

    digests: npt.NDArray[np.uint8]
    errors: dict[int, str]


def read(found: Sequence[File], cache: Path, side: int) -> Decoded:
    """Decode `found` to `side` x `side` pixels, or take what `cache`.npy and `cache`.npz have of them.

    They are written where that is possible; else the pixels are in a temporary file.
    """
    stored = cache.with_name(f"{cache.name}.npy")
    key = _key(found, cache.parent, side)
    decoded = _load(cache, key, (len(found), side, side, 3))
    if decoded is not None:
        return decoded
    try:
        with files.replacing(stored) as unfinished, unfinished.open("wb") as file:
            facts = _decode_all(found, side, file)
        _save(cache, key, facts)
        return Decoded(np.load(stored, mmap_mode="c", allow_pickle=False), facts.digests, facts.errors)
    except OSError as error:
        print(f"{stored} cannot be written ({error.strerror}): images are decoded each time", file=sys.stderr)
    with tempfile.TemporaryFile() as file:
        facts = _decode_all(found, side, file)
        file.flush()
        start = len(_header(0, side))
        pixels = np.memmap(file, np.uint8, "c", start, (len(facts.digests), side, side, 3))
        return Decoded(pixels, facts.digests, facts.errors)


def _key(found: Sequence[File], root: Path, side: int) -> str:
    """Changes with what was decoded, and with the decoder. Nothing in it changes when the whole folder is moved."""
    listed = [(os.path.relpath(file.path, root), file.size, file.time, file.is_file) for file in found]
    code = [Path(__file__), *sorted(Path(decode.__file__).parent.rglob("*.py"))]
    decoder = [*map(files.sha256, code), PIL.__version__, side]
    return hashlib.sha256(json.dumps([listed, decoder]).encode()).hexdigest()


def _header(count: int, side: int) -> bytes:
    """The start of a .npy file; as long for every count."""
    file = io.BytesIO()
    described = {"descr": "|u1", "fortran_order": False, "shape": (count, side, side, 3)}
    np.lib.format.write_array_header_1_0(file, described)
    return file.getvalue()


def _decode_all(found: Sequence[File], side: int, file: BinaryIO) -> _Facts:
    """Write the pixels of all that can be decoded to `file`, in the format .npy, a block at a time."""
    digests: list[bytes] = []
    errors: dict[int, str] = {}
    file.write(_header(0, side))
    decode_one = partial(_decode, side=side)
    with ThreadPoolExecutor(usable_cpus(), "decode") as pool, Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("decoding", total=len(found))
        for first in range(0, len(found), _BLOCK):
            for place, result in enumerate(pool.map(decode_one, found[first : first + _BLOCK]), first):
                if isinstance(result, str):
                    errors[place] = result
                else:
                    file.write(result[0].tobytes())
                    digests.append(result[1])
                progress.advance(task)
    file.seek(0)
    file.write(_header(len(digests), side))
    return _Facts(np.frombuffer(b"".join(digests), np.uint8).reshape(-1, hashlib.sha256().digest_size), errors)


def _decode(file: File, side: int) -> tuple[Pixels, bytes] | str:
    if not file.is_file:
        return "It is not a file, nor a link to one."
    if file.size > _MAX_BYTES:
        return f"It is larger than {_MAX_BYTES:,} bytes."
    try:
        content = file.path.read_bytes()
        return decode.decode(content, side, side), hashlib.sha256(content).digest()
    except ImageError as error:
        return str(error)
    except OSError as error:
        return f"It cannot be read ({error.strerror})."


def _load(cache: Path, key: str, shape: tuple[int, ...]) -> Decoded | None:
    """What was written for `shape[0]` files, unless it is of other files, damaged, or not there."""
    try:
        stored = cache.with_name(f"{cache.name}.npy")
        with cache.with_name(f"{cache.name}.npz").open("rb") as file, np.load(file, allow_pickle=False) as saved:
            if str(saved["key"]) != key or saved["pixels"].tolist() != _identity(stored):
                return None
            errors = {int(k): str(v) for k, v in json.loads(str(saved["errors"])).items()}
            digests = saved["digests"]
        pixels = np.load(stored, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError, KeyError, AttributeError, TypeError, zipfile.BadZipFile):
        return None
    count = shape[0] - len(errors)
    whole = pixels.dtype == np.uint8 and pixels.shape == (count, *shape[1:]) and len(digests) == count
    return Decoded(pixels, digests, errors) if whole else None


def _save(cache: Path, key: str, facts: _Facts) -> None:
    pixels = _identity(cache.with_name(f"{cache.name}.npy"))
    with files.replacing(cache.with_name(f"{cache.name}.npz")) as unfinished, unfinished.open("wb") as file:
        np.savez(file, key=key, pixels=pixels, digests=facts.digests, errors=json.dumps(facts.errors))


def _identity(path: Path) -> list[int]:
    """Size and time of a file: what is known of the pixels is about this one."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]
