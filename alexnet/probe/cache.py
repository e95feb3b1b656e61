"""Embeddings that are kept: a run that is stopped, or gets more images, computes only those that are missing.

In: images and the digests of their files. Out: their embeddings, from a file beside the images to which new ones are
appended as they are computed: for each image its digest uint8 [32] and its embeddings float32 [views, D]. The file's
name has the convolutions' digest and the image size.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

Digests = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class Cache:
    """The embeddings [N, views, D] in the file `path`, by digest. Where it cannot be written, nothing is kept."""

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        self._path = path
        self._row = np.dtype([("digest", "u1", 32), ("embedding", "<f4", shape)])
        self._known: dict[bytes, int] = {}
        self._rows = np.empty(0, self._row)
        try:
            count = path.stat().st_size // self._row.itemsize  # a row that was cut off is computed again
            if count:
                self._rows = np.memmap(path, self._row, "r", shape=(count,))
        except OSError:
            return
        self._known = {digest.tobytes(): place for place, digest in enumerate(self._rows["digest"])}

    def missing(self, digests: Digests) -> npt.NDArray[np.int64]:
        """The places of digests [N, 32] whose embeddings are not there."""
        return np.array([place for place, item in enumerate(digests) if item.tobytes() not in self._known], np.int64)

    def fill(self, digests: Digests, embeddings: Floats) -> None:
        """Write what is there into `embeddings` [N, views, D]."""
        for place, digest in enumerate(digests):
            row = self._known.get(digest.tobytes())
            if row is not None:
                embeddings[place] = self._rows["embedding"][row]

    @contextmanager
    def appending(self) -> Iterator[BinaryIO | None]:
        """The file, open for `append`; None where it cannot be written."""
        try:
            file = self._path.open("ab")
        except OSError:
            yield None
            return
        with file:
            file.truncate(len(self._rows) * self._row.itemsize)
            yield file

    def append(self, file: BinaryIO, digests: Digests, embeddings: Floats) -> None:
        """Add the embeddings of a batch."""
        rows = np.empty(len(digests), self._row)
        rows["digest"], rows["embedding"] = digests, embeddings
        file.write(rows.tobytes())
        file.flush()
