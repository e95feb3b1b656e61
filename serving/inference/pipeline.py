"""Images to predictions: decoded, run through the model with those of other requests, and named.

In: a `ClassifyRequest`, the bytes of images. Out: in the place of each its prediction, or the error that it alone gets.
A single small image, as the model wants them, is decoded where it arrives. While there is no other request, or where
the worker has one CPU for itself, a quick model runs there as well: handing it to a thread and back takes longer than
it would keep anyone waiting. Everything else is decoded by the scheduler, while the model already runs on what is
decoded.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from alexnet.inference.classifier import Classifier
from alexnet.inference.decode import to_png
from alexnet.inference.prediction import Prediction, rank
from serving.errors import RequestError, without_frames
from serving.inference.batching import MAX_BATCH, Batcher
from serving.inference.decoding import Decoder
from serving.inference.explain import POSITIONS, losses, occlude
from serving.inference.loop_batching import LOOP_SECONDS, LoopBatcher
from serving.inference.pending import Disconnected, PendingRequest
from serving.inference.scheduler import Cost, Scheduler, Steps
from serving.limits import AdmissionControl, MemoryBudget
from serving.metrics import Metrics
from serving.scoreboard import Scoreboard
from serving.settings import Settings

# Of one image: probabilities float32 [classes], whether it is probably none of them, and its OOD score.
Row = tuple[npt.NDArray[np.float32], bool | None, float | None]
Result = TypeVar("Result")

_QUICK_SECONDS: Final = 0.003  # for a run of the model, during which no other request is looked at
_WARM_UP_SECONDS: Final = 0.05


@dataclass(frozen=True)
class ClassifyRequest:
    """What a client asks for. An image that could not be read stands as its error, in its own place."""

    images: list[bytes | RequestError]
    top_k: int


@dataclass(frozen=True)
class Capacity:
    """`concurrency` threads that decode, and as many model runs at once, `share` of them whatever other workers do.

    `in_flight` tells how many requests there are; without it, as many as there may be. `scoreboard` tells what the
    other workers run.
    """

    concurrency: int
    in_flight: Callable[[], int] = lambda: sys.maxsize
    share: int | None = None
    scoreboard: Scoreboard | None = None


class Pipeline:
    """Decodes and runs as much at once as `capacity` says, and lets as much wait as the settings say.

    The model is warm afterwards.
    """

    def __init__(
        self, classifier: Classifier, settings: Settings, metrics: Metrics, memory: MemoryBudget, capacity: Capacity
    ) -> None:
        self._classifier = classifier
        self._metrics = metrics
        self._memory = memory
        self._decoder = Decoder(classifier.image_shape, settings.max_pixels, metrics, memory)
        self._time_limit = settings.time_limit
        self._in_flight = capacity.in_flight
        self._quick = _seconds(classifier, alone=True) < _QUICK_SECONDS
        self._admission = AdmissionControl(capacity.concurrency + settings.queue)
        self._scheduler = Scheduler(capacity.concurrency, memory)
        runs = min(capacity.concurrency, classifier.concurrency)
        self._batcher = Batcher(self._run_model, runs, capacity.share, capacity.scoreboard)
        self._on_loop: LoopBatcher | None = None
        if self._quick and capacity.share == 1:
            most = max(1, min(MAX_BATCH, int(LOOP_SECONDS / _seconds(classifier, alone=False))))
            self._on_loop = LoopBatcher(
                self._batcher.run_here, most, self._admission, settings.time_limit, metrics.queue.observe
            )

    async def classify(
        self, request: ClassifyRequest, disconnected: Disconnected | None = None
    ) -> list[Prediction | RequestError]:
        """For each image of `request` its prediction, or the error that it alone gets. Raises as `infer` does."""
        rows = await self.infer(request.images, disconnected)
        return [row if isinstance(row, RequestError) else self._to_prediction(row, request.top_k) for row in rows]

    async def infer(
        self, images: Sequence[bytes | RequestError], disconnected: Disconnected | None = None
    ) -> list[Row | RequestError]:
        """For each image file what the model says, or the error that it alone gets.

        Raises `RequestError`: `overloaded` when too much waits, `timed_out` when it takes too long, `client_gone` when
        `disconnected` returns first. Small images are not worth to watch for that.
        """
        asked = time.perf_counter()
        self._admission.check()
        results: list[Any] = list(images)
        small = self._decoder.decode_small(results, 1 if self._on_loop is None else self._on_loop.most)
        if small is None:
            pending = PendingRequest(self._admission, self._scheduler, self._batcher)
            pending.decode(self._decode_and_infer(results, pending, asked))
            await pending.wait(self._time_limit, disconnected)
            return results
        places, pixels = small
        if not places:
            return results
        if self._quick and self._in_flight() == 1 and not self._admission.pending:
            self._observe_wait(asked)
            _place(results, places, self._batcher.run_here(pixels))
        elif self._on_loop is not None:
            _place(results, places, await self._on_loop.infer(pixels))
        else:
            pending = PendingRequest(self._admission, self._scheduler, self._batcher)
            pending.infer(pixels, lambda: self._observe_wait(asked), lambda rows: _place(results, places, rows))
            await pending.wait(self._time_limit)
        return results

    async def infer_pixels(
        self, pixels: npt.NDArray[np.uint8], disconnected: Disconnected | None = None
    ) -> list[Row | RequestError]:
        """The same for pixels uint8 [N, height, width, 3] RGB of the model's size; no row is an error."""
        results: list[Any] = [None] * len(pixels)
        if not results:
            return results
        pending = PendingRequest(self._admission, self._scheduler, self._batcher)
        for first in range(0, len(pixels), MAX_BATCH):
            part = pixels[first : first + MAX_BATCH]
            self._infer(part, list(range(first, first + len(part))), results, pending)
        await pending.wait(self._time_limit, disconnected)
        return results

    async def preview(self, image: bytes | RequestError, disconnected: Disconnected | None = None) -> bytes:
        """The PNG file of the image as the model sees it. Raises `RequestError`, as `classify` does."""
        content: list[bytes] = []

        def steps() -> Steps:
            yield self._decoder.cost(image)
            content.append(to_png(self._decoder.decode(image)))

        pending = PendingRequest(self._admission, self._scheduler, self._batcher)
        pending.decode(steps())
        await pending.wait(self._time_limit, disconnected)
        return content[0]

    async def explain(self, image: bytes | RequestError, disconnected: Disconnected | None = None) -> dict[str, Any]:
        """How much each part of the image matters: `label`, `score` and `grid`. Raises `RequestError`."""
        rows: list[Any] = [None] * (1 + POSITIONS**2)
        pending = PendingRequest(self._admission, self._scheduler, self._batcher)

        def steps() -> Steps:
            yield self._decoder.cost(image)
            variants = occlude(self._decoder.decode(image))
            for first in range(0, len(rows), MAX_BATCH):
                part = range(first, min(first + MAX_BATCH, len(rows)))
                self._infer(variants[part.start : part.stop], list(part), rows, pending)

        pending.decode(steps())
        await pending.wait(self._time_limit, disconnected)
        probabilities = np.stack([row[0] for row in rows])
        best = int(probabilities[0].argmax())
        (top,) = rank(probabilities[0], self._classifier.classes, 1)
        grid = losses(probabilities[:, best])
        return {"label": top.label, "score": top.score, "grid": grid.round(6).astype(float).round(6).tolist()}

    async def offload(self, work: Callable[[], Result], cost: Cost) -> Result:
        """What `work` returns, run in a thread as a step of that cost, so that the event loop can go on."""
        found: list[Result] = []

        def steps() -> Steps:
            yield Cost(min(cost.bytes, self._memory.decode_limit), cost.seconds)
            found.append(work())

        pending = PendingRequest(AdmissionControl(1), self._scheduler, self._batcher)
        pending.decode(steps())
        await pending.wait(self._time_limit)
        return found[0]

    def _decode_and_infer(self, results: list[Any], pending: PendingRequest, asked: float) -> Steps:
        """Replace the images in `results` by what the model says, or by errors; a step is one image's decoding."""
        self._observe_wait(asked)
        places: list[int] = []
        pixels = self._new_pixels(len(results))
        for place, image in enumerate(results):
            try:
                yield self._decoder.cost(image)
                pixels[len(places)] = self._decoder.decode(image)
            except RequestError as error:
                results[place] = without_frames(error)
                continue
            places.append(place)
            if len(places) == MAX_BATCH:
                self._infer(pixels, places, results, pending)
                places, pixels = [], self._new_pixels(len(results) - place - 1)
        if places:
            self._infer(pixels[: len(places)], places, results, pending)

    def _infer(
        self, pixels: npt.NDArray[np.uint8], places: list[int], results: list[Any], pending: PendingRequest
    ) -> None:
        pending.infer(pixels, _nothing, lambda rows: _place(results, places, rows))

    def _new_pixels(self, images: int) -> npt.NDArray[np.uint8]:
        return np.empty((min(images, MAX_BATCH), *self._classifier.image_shape), np.uint8)

    def _observe_wait(self, asked: float) -> None:
        self._metrics.queue.observe(time.perf_counter() - asked)

    def _run_model(self, pixels: npt.NDArray[np.uint8], alone: bool) -> list[Row]:
        with self._metrics.stage("inference"):
            outputs = self._classifier.run(pixels, alone=alone)
        self._metrics.batch_size.observe(len(pixels))
        is_ood = [None] * len(pixels) if outputs.is_ood is None else outputs.is_ood.tolist()
        scores = [None] * len(pixels) if outputs.ood_score is None else outputs.ood_score.tolist()
        return list(zip(outputs.probabilities, is_ood, scores, strict=True))

    def _to_prediction(self, row: Row, top_k: int) -> Prediction:
        probabilities, is_ood, score = row
        prediction = Prediction(rank(probabilities, self._classifier.classes, top_k), is_ood, score)
        self._metrics.count_prediction(prediction)
        return prediction


def _place(results: list[Any], places: Sequence[int], rows: Sequence[Any]) -> None:
    for place, row in zip(places, rows, strict=True):
        results[place] = row


def _nothing() -> None:
    pass


def _seconds(classifier: Classifier, *, alone: bool) -> float:
    """How long a run with one image takes at best, with all threads or one; a slow model is run once only."""
    times: list[float] = []
    pixels = np.zeros((1, *classifier.image_shape), np.uint8)
    while sum(times) < _WARM_UP_SECONDS and len(times) < 10:
        started = time.perf_counter()
        classifier.run(pixels, alone=alone)
        times.append(time.perf_counter() - started)
    return min(times)
