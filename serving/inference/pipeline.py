"""Images to predictions: decoded, run through the model with those of other requests, and named.

In: a `ClassifyRequest`, the bytes of images. Out: in the place of each its prediction, or the error that it alone gets.
A single small image, as the model wants them, is decoded where it arrives, and while there is no other request a quick
model runs there as well: handing it to a thread and back takes longer than it would keep anyone waiting. Everything
else is decoded in the threads of the pool.
"""

import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from alexnet.errors import ImageError
from alexnet.inference.classifier import Classifier
from alexnet.inference.decode import decode, to_png
from alexnet.inference.prediction import Prediction, rank
from serving.body.request import ClassifyRequest
from serving.errors import RequestError
from serving.inference.batching import MAX_BATCH, Batcher
from serving.limits import Pool
from serving.metrics import Metrics
from serving.settings import Settings

# What is decoded where it arrives, in about a tenth of a millisecond, or a few when someone tries hard.
_SMALL_BYTES: Final = 8_192
_SMALL_PIXELS: Final = 16_384
_QUICK_SECONDS: Final = 0.003  # for a run of the model, during which no other request is looked at
_WARM_UP_SECONDS: Final = 0.05


class Pipeline:
    """`concurrency` threads that decode, as many runs of the model, and as much waiting as the settings say.

    `in_flight` tells how many requests there are. The model is warm afterwards.
    """

    def __init__(
        self,
        classifier: Classifier,
        settings: Settings,
        metrics: Metrics,
        concurrency: int,
        in_flight: Callable[[], int],
    ) -> None:
        self._classifier = classifier
        self._metrics = metrics
        self._max_pixels = settings.max_pixels
        self._in_flight = in_flight
        self._quick = _seconds(classifier) < _QUICK_SECONDS
        self._pool = Pool(concurrency, settings.queue, settings.time_limit)
        self._batcher = Batcher(self._run_model, min(concurrency, classifier.concurrency), self._pool)

    async def classify(self, request: ClassifyRequest) -> list[Prediction | RequestError]:
        """For each image of `request` its answer, or the error that it alone gets.

        Raises `RequestError`: `overloaded` when too much waits, `timed_out` when it takes too long.
        """
        asked = time.perf_counter()
        if len(request.images) == 1:
            self._pool.check()
            pixels = self._decode_small(request.images[0])
            if isinstance(pixels, RequestError):
                return [pixels]
            if pixels is not None:
                if self._quick and self._in_flight() == 1 and not self._pool.pending:
                    self._begin(asked)
                    (row,) = self._run_model(pixels[None], True)
                else:
                    (row,) = await self._batcher.run(pixels[None], lambda: self._begin(asked))
                return [self._name(row, request.top_k)]

        def work() -> list[Prediction | RequestError]:
            self._begin(asked)
            return self.classify_blocking(request)

        return await self._pool.run(work)

    def classify_blocking(self, request: ClassifyRequest) -> list[Prediction | RequestError]:
        """The same, all of it in this thread but the model."""
        results: list[Any] = list(request.images)
        pixels = np.empty((len(results), *self._classifier.image_shape), np.uint8)
        with self._metrics.stage("decode"):
            for place, image in enumerate(request.images):
                try:
                    pixels[place] = self._decode(image)
                except RequestError as error:
                    results[place] = error
        places = [place for place, result in enumerate(results) if not isinstance(result, RequestError)]
        for first in range(0, len(places), MAX_BATCH):
            run = places[first : first + MAX_BATCH]
            for place, row in zip(run, self._batcher.run_in_turn(pixels[run]), strict=True):
                results[place] = self._name(row, request.top_k)
        return results

    async def preview(self, image: bytes | RequestError) -> bytes:
        """The PNG file of the image as the model sees it. Raises `RequestError`."""
        return await self._pool.run(lambda: to_png(self._decode(image)))

    def _decode_small(self, image: bytes | RequestError) -> npt.NDArray[np.uint8] | RequestError | None:
        """Pixels or an error at once; None for an image that may take its time."""
        if isinstance(image, RequestError):
            return image
        if len(image) > _SMALL_BYTES:
            return None
        limit = min(_SMALL_PIXELS, self._max_pixels)
        try:
            with self._metrics.stage("decode"):
                return self._decode(image, limit)
        except RequestError as error:
            large = error.code == "too_many_pixels" and limit < self._max_pixels
            return None if large else error

    def _decode(self, image: bytes | RequestError, max_pixels: int | None = None) -> npt.NDArray[np.uint8]:
        if isinstance(image, RequestError):
            raise image
        height, width, _ = self._classifier.image_shape
        try:
            return decode(image, height, width, max_pixels or self._max_pixels)
        except ImageError as error:
            raise RequestError.of(error) from error

    def _begin(self, asked: float) -> None:
        self._metrics.queue.observe(time.perf_counter() - asked)

    def _run_model(
        self, pixels: npt.NDArray[np.uint8], alone: bool
    ) -> list[tuple[npt.NDArray[np.float32], bool | None]]:
        """For each image its probabilities, and whether it is probably none of the classes."""
        with self._metrics.stage("inference"):
            outputs = self._classifier.run(pixels, alone=alone)
        self._metrics.batch_size.observe(len(pixels))
        is_ood = [None] * len(pixels) if outputs.is_ood is None else outputs.is_ood.tolist()
        return list(zip(outputs.probabilities, is_ood, strict=True))

    def _name(self, row: tuple[npt.NDArray[np.float32], bool | None], count: int) -> Prediction:
        probabilities, is_ood = row
        prediction = Prediction(rank(probabilities, self._classifier.classes, count), is_ood)
        self._metrics.answers.labels(prediction.label).inc()
        return prediction


def _seconds(classifier: Classifier) -> float:
    """How long a run with one image takes at best; a slow model is run once only."""
    times: list[float] = []
    pixels = np.zeros((1, *classifier.image_shape), np.uint8)
    while sum(times) < _WARM_UP_SECONDS and len(times) < 10:
        started = time.perf_counter()
        classifier.run(pixels)
        times.append(time.perf_counter() - started)
    return min(times)
