"""Image files of requests to pixels, or the error that each of them gets.

In: the bytes of an image, or the error that stands in its place. Out: pixels uint8 [height, width, 3] of the model's
size; what decoding will cost, from the header alone; and whether images are so small that they are decoded where they
arrive.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from alexnet.errors import ImageError
from alexnet.inference.decode import decode
from alexnet.inference.header import decode_cost, read_header
from serving.errors import RequestError, without_frames
from serving.inference.scheduler import Cost
from serving.limits import MemoryBudget
from serving.metrics import Metrics

# What is decoded where it arrives, an image in less than a tenth of a millisecond, or a few when someone tries hard.
_SMALL_BYTES: Final = 8_192
_SMALL_PIXELS: Final = 16_384
_SMALL_TOTAL_BYTES: Final = 65_536  # of all images of a request
_SMALL_TOTAL_PIXELS: Final = 32_768


class Decoder:
    """Decodes images of at most `max_pixels` to `shape`, which is (height, width, 3), within `memory`."""

    def __init__(self, shape: tuple[int, int, int], max_pixels: int, metrics: Metrics, memory: MemoryBudget) -> None:
        self._height, self._width, _ = shape
        self._max_pixels = max_pixels
        self._metrics = metrics
        self._memory = memory

    def decode(self, image: bytes | RequestError, max_pixels: int | None = None) -> npt.NDArray[np.uint8]:
        """The pixels of `image`. Raises the `RequestError` that it is or deserves, `overloaded` without memory."""
        if isinstance(image, RequestError):
            raise image
        try:
            with self._metrics.stage("decode"):
                return decode(image, self._height, self._width, max_pixels or self._max_pixels)
        except ImageError as error:
            raise RequestError.of(error) from error
        except MemoryError as error:
            raise RequestError("overloaded", "There is not enough memory for the image; try again later.") from error

    def cost(self, image: bytes | RequestError) -> Cost:
        """What decoding takes. Raises `RequestError` for an image that can never be decoded here."""
        if isinstance(image, RequestError):
            raise image
        try:
            cost = decode_cost(read_header(image), len(image), self._height, self._width)
        except ImageError as error:
            raise RequestError.of(error) from error
        self._memory.check(cost.bytes)
        return Cost(cost.bytes, cost.seconds)

    def decode_small(self, results: list[Any], most: int) -> tuple[list[int], npt.NDArray[np.uint8]] | None:
        """The places and pixels [N, height, width, 3] of the images in `results` that can be read.

        Those that cannot are replaced by their errors. None, and nothing is replaced, where there are more than `most`
        images or decoding them may take its time.
        """
        size = sum(len(image) for image in results if isinstance(image, bytes))
        if len(results) > most or size > min(_SMALL_BYTES * len(results), _SMALL_TOTAL_BYTES):
            return None
        limit = min(_SMALL_PIXELS, _SMALL_TOTAL_PIXELS // max(len(results), 1), self._max_pixels)
        places: list[int] = []
        decoded: list[npt.NDArray[np.uint8]] = []
        errors: dict[int, RequestError] = {}
        for place, image in enumerate(results):
            try:
                decoded.append(self.decode(image, limit))
                places.append(place)
            except RequestError as error:
                if error.code == "too_many_pixels" and limit < self._max_pixels:
                    return None
                errors[place] = without_frames(error)
        for place, found in errors.items():
            results[place] = found
        return places, decoded[0][None] if len(decoded) == 1 else np.array(decoded)
