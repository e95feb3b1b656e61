"""Images to rows: on each CPU a thread that decodes images and runs the model on a batch, with one thread of its own.

In: parts of images (sources.py). Out: for each part its rows, in order; a file that cannot be read or decoded is a row
with an error. In memory are a batch for each thread and one part's rows, however many images there are. Threads are
enough: the decoders and ONNX Runtime release the GIL. A run with several threads would wait, after every operator, for
the one whose CPU decodes.
"""

import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from alexnet.batch import parquet
from alexnet.batch.sources import Part
from alexnet.batch.table import PredictionRow, render
from alexnet.errors import ImageError
from alexnet.inference import MAX_PIXELS, decode
from alexnet.inference.classifier import Classifier
from alexnet.inference.cpus import usable_cpus
from alexnet.inference.prediction import Prediction

BATCH: Final = 64
_BATCH_BYTES: Final = 8 * 2**20  # of Parquet rows in a batch: the images of files are read only as they are decoded

_CHUNK_SECONDS: Final = 0.01  # of decoding that a thread is given at a time
_SMOOTHING: Final = 0.2

Pixels = npt.NDArray[np.uint8]
# Where an image is from, and its bytes, None for a file that is still to be read.
_Item = tuple[tuple[str, int | None], bytes | ImageError | None]


@dataclass(frozen=True)
class Limits:
    """The largest file and image that are decoded; the defaults are those of the service."""

    max_bytes: int = 10_000_000
    max_pixels: int = MAX_PIXELS


@dataclass(frozen=True)
class Job:
    """What is the same for every image. Relative paths are meant from `root`, which other machines need to be told.

    `threads` are those of ONNX Runtime and, as many again, those that decode; None takes one for each usable CPU.
    """

    model: Path
    top_k: int
    column: str | None
    limits: Limits
    gpu: Literal["never", "prefer", "require"] = "never"
    threads: int | None = None
    root: Path = field(default_factory=Path.cwd)


@dataclass(frozen=True)
class _Batch:
    """Images of one part: where each is from, and its bytes, None for a file that is still to be read."""

    part: Part
    last: bool
    places: list[tuple[str, int | None]]
    contents: list[bytes | ImageError | None]


class Predictor:
    """A model and what decodes for it. Close it, or leave its `with` block, to end its threads."""

    def __init__(self, job: Job, classifier: Classifier | None = None) -> None:
        self.classifier = classifier or Classifier(
            job.root / job.model, threads=job.threads, gpu=job.gpu, concurrent=True
        )
        self._job = job
        self._threads = job.threads or usable_cpus()
        self._pool = ThreadPoolExecutor(self._threads, "predict")
        self._runs = threading.Semaphore(self.classifier.concurrency)
        self._decode_seconds = _CHUNK_SECONDS  # of one image, by the latest ones
        self._reader = parquet.Reader(job.column, job.limits.max_bytes)

    def __enter__(self) -> "Predictor":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def rows(
        self, parts: Iterable[Part], advance: Callable[[int], None] = lambda _: None
    ) -> Iterator[tuple[Part, list[PredictionRow]]]:
        """The rows of each part, in order. Tells `advance` how many images are done, batch by batch."""
        rows: list[PredictionRow] = []
        for batch, found in self._in_order(parts):
            rows += found
            advance(len(batch.places))
            if batch.last:
                yield batch.part, rows
                rows = []

    def tables(
        self, parts: Iterable[Part], kind: str, advance: Callable[[int], None] = lambda _: None
    ) -> Iterator[tuple[Part, bytes, int]]:
        """For each part the file of `kind` that holds its rows, and how many of them have an error."""
        for part, rows in self.rows(parts, advance):
            content = render(kind, rows, self._job.top_k, self.classifier.detects_ood)
            yield part, content, sum(row.error is not None for row in rows)

    def _in_order(self, parts: Iterable[Part]) -> Iterator[tuple[_Batch, list[PredictionRow]]]:
        """Batches with their rows, in order; the threads work on the next ones meanwhile."""
        waiting: deque[tuple[_Batch, Future[list[PredictionRow]]]] = deque()
        for batch in self._batches(parts):
            waiting.append((batch, self._submit(batch)))
            if len(waiting) > self._threads:
                first, rows = waiting.popleft()
                yield first, rows.result()
        for first, rows in waiting:
            yield first, rows.result()

    def _submit(self, batch: _Batch) -> Future[list[PredictionRow]]:
        """Decode in chunks: a few ms of images each, since a small image takes less than handing it to a thread.

        What runs the model is queued behind them, so that it only waits for chunks that other threads have begun.
        """
        size = max(1, min(BATCH, int(_CHUNK_SECONDS / self._decode_seconds)))
        items = list(zip(batch.places, batch.contents, strict=True))
        chunks = [self._pool.submit(self._decode, items[first : first + size]) for first in range(0, len(items), size)]
        return self._pool.submit(self._classify, batch, chunks)

    def _batches(self, parts: Iterable[Part]) -> Iterator[_Batch]:
        """A batch never holds images of two parts: each part gives the same rows, whichever are done beside it."""
        for part in parts:
            left, held = part.images, _Batch(part, False, [], [])
            size = 0
            for path, row, content in self._contents(part):
                held.places.append((path, row))
                held.contents.append(content)
                size += len(content) if isinstance(content, bytes) else 0
                left -= 1
                if not left:
                    yield _Batch(part, True, held.places, held.contents)
                elif len(held.places) == BATCH or size >= _BATCH_BYTES:
                    yield held
                    held, size = _Batch(part, False, [], []), 0

    def _contents(self, part: Part) -> Iterator[tuple[str, int | None, bytes | ImageError | None]]:
        for span in part.spans:
            if span.first is None:
                yield span.path, None, None
                continue
            path, rows = str(self._job.root / span.path), range(span.first, span.first + span.count)
            for row, content in zip(rows, self._reader.read(path, span.first, span.count), strict=True):
                yield span.path, row, content

    def _decode(self, items: Sequence[_Item]) -> list[Pixels | ImageError]:
        height, width, _ = self.classifier.image_shape
        root = str(self._job.root)  # joined as text: a pathlib path for each image takes longer than to open it
        decoded: list[Pixels | ImageError] = []
        started = time.perf_counter()
        for (path, _row), given in items:
            if isinstance(given, ImageError):
                decoded.append(given)
                continue
            try:
                content = given
                if content is None:
                    content = read_image(os.path.join(root, path), self._job.limits.max_bytes)  # noqa: PTH118
                decoded.append(decode.decode(content, height, width, self._job.limits.max_pixels))
            except ImageError as error:
                # A new one: that which was raised holds on to the file's bytes, by its traceback.
                decoded.append(ImageError(error.code, str(error)))
        seconds = (time.perf_counter() - started) / len(items)
        self._decode_seconds += _SMOOTHING * (seconds - self._decode_seconds)
        return decoded

    def _classify(self, batch: _Batch, chunks: list[Future[list[Pixels | ImageError]]]) -> list[PredictionRow]:
        decoded = [found for chunk in chunks for found in chunk.result()]
        whole = [pixels for pixels in decoded if not isinstance(pixels, ImageError)]
        predictions = iter(self._predictions(np.stack(whole)) if whole else ())
        rows = []
        for (path, row), found in zip(batch.places, decoded, strict=True):
            if isinstance(found, ImageError):
                rows.append(PredictionRow(path, row, error=found))
            else:
                prediction = next(predictions)
                rows.append(PredictionRow(path, row, prediction.top, prediction.is_ood))
        return rows

    def _predictions(self, pixels: Pixels) -> list[Prediction]:
        with self._runs:
            outputs = self.classifier.run(pixels, alone=self.classifier.concurrency == 1)
        return self.classifier.to_predictions(outputs, self._job.top_k)


def read_image(path: str, max_bytes: int) -> bytes:
    """The bytes of a file. Raises `ImageError` `unreadable_file`, `damaged_parquet` or `body_too_large`."""
    if parquet.is_parquet(path):  # a whole one is read by its rows
        raise ImageError("damaged_parquet", "The file cannot be read as Parquet.")
    try:
        # Without waiting for a writer, should the file have become a pipe since it was found.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageError("unreadable_file", "This is not a file.")
            if status.st_size > max_bytes:
                raise ImageError("body_too_large", f"The file is larger than {max_bytes:,} bytes.")
            return file.read()
    except OSError as error:
        raise ImageError("unreadable_file", f"The file cannot be read: {error.strerror}.") from error
