"""Bounded work and bounded memory: what the requests of one worker process may take together.

`AdmissionControl` counts the requests that are worked on or wait, `MemoryBudget` the bytes of request bodies and of
images that are being decoded.
"""

import math
import threading
import time
from typing import Final, Self

from alexnet.errors import UserError
from alexnet.inference import cpus
from serving.errors import RequestError
from serving.settings import Settings

_MEGABYTE: Final = 1_000_000
# Measured with two workers: `python -m benchmarks.startup`. What a process takes before the first request, rounded up
# to leave room for the model's runs and for what the allocator keeps.
_SUPERVISOR_BYTES: Final = 80 * _MEGABYTE
_WORKER_BYTES: Final = 130 * _MEGABYTE
_MOST_BYTES: Final = 512 * _MEGABYTE  # enough for every image of the default ALEXNET_MAX_PIXELS
_LEAST_DECODE_BYTES: Final = 16 * _MEGABYTE
_HELD_SHARE: Final = 4  # bodies take a quarter
_SMALL_BODY_BYTES: Final = 65_536
_SMALL_SHARE: Final = 8  # an eighth of that is for small bodies alone
_SMOOTHING: Final = 0.1
_MOST_RETRY_SECONDS: Final = 60


class AdmissionControl:
    """Places for `capacity` requests. For the event loop alone."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.pending = 0  # worked on and waiting
        self._ended = time.monotonic()  # when the last request ended, or the first of a busy time began
        self._interval = 0.0  # seconds between two ends while there is work, a moving average

    def check(self) -> None:
        """Raise `RequestError` `overloaded` when there is no place; it tells when half of what waits will be done."""
        if self.pending >= self._capacity:
            seconds = math.ceil(self.pending / 2 * max(self._interval, time.monotonic() - self._ended))
            raise RequestError(
                "overloaded", "Too many requests wait already.", retry_seconds=min(max(seconds, 1), _MOST_RETRY_SECONDS)
            )

    def enter(self) -> None:
        """Take a place, to be given back with `leave`. Raises `RequestError` `overloaded` when there is none."""
        self.check()
        if not self.pending:
            self._ended = time.monotonic()
        self.pending += 1

    def leave(self) -> None:
        """Give the place back."""
        self.pending -= 1
        now = time.monotonic()
        self._interval += _SMOOTHING * (now - self._ended - self._interval)
        self._ended = now


class MemoryBudget:
    """Bytes of this process for request bodies and for decoding: never more than `limit` together.

    Bodies hold at most `max_held`, of which large ones leave a part to small ones. One that does not fit is refused,
    since only its own client knows when it will be complete. Decoding has the rest, `decode_limit`, to itself: what
    does not fit now waits in the scheduler until others end. A decode never waits for a body, hence no deadlock.
    """

    def __init__(self, limit: int, max_held: int) -> None:
        self.decode_limit = limit - max_held
        if self.decode_limit < _LEAST_DECODE_BYTES:
            raise UserError(
                f"ALEXNET_DECODE_MEMORY_LIMIT: {limit} bytes, less {max_held} for request bodies, leave fewer than "
                f"{_LEAST_DECODE_BYTES} to decode images in; raise it, or lower ALEXNET_MAX_HELD_BYTES"
            )
        self.max_held = max_held
        self.held = 0  # touched on the event loop alone
        self.decoding = 0
        self._lock = threading.Lock()

    def hold(self) -> "HeldBytes":
        """Counts the bytes of one request's body; when the block ends they are given back. For the event loop."""
        return HeldBytes(self)

    def check(self, size: int) -> None:
        """Raise `RequestError` `too_many_pixels` where decoding an image takes more bytes than there can be."""
        if size > self.decode_limit:
            raise RequestError(
                "too_many_pixels",
                f"Decoding the image would take {size // _MEGABYTE} MB; at most {self.decode_limit // _MEGABYTE} MB "
                "are allowed (ALEXNET_DECODE_MEMORY_LIMIT).",
            )

    def acquire(self, size: int) -> bool:
        """Take `size` bytes for decoding, to be given back with `release`; False where they are not free now."""
        with self._lock:
            if self.decoding + size > self.decode_limit:
                return False
            self.decoding += size
            return True

    def release(self, size: int) -> None:
        """Give bytes back that `acquire` took."""
        with self._lock:
            self.decoding -= size


class HeldBytes:
    """A function that adds to the bytes of one request's body, in a block at whose end they are given back.

    It raises `RequestError` `overloaded` when there is no room. A large body may fill all of it while there is no
    other.
    """

    __slots__ = ("_budget", "_own")

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._own = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._budget.held -= self._own

    def __call__(self, size: int) -> None:
        budget, own = self._budget, self._own + size
        small, alone = own <= _SMALL_BODY_BYTES, self._own == budget.held
        room = budget.max_held if small or alone else budget.max_held - budget.max_held // _SMALL_SHARE
        if budget.held + size > room:
            raise RequestError("overloaded", "Too many uploads at once; try again in a moment.")
        self._own = own
        budget.held += size


def worker_count(settings: Settings) -> int:
    """How many processes serve: as many as the settings say, or else one with a GPU, and on CPUs `cpus.processes`.

    Fewer where the memory would not let each of them decode every image of the default ALEXNET_MAX_PIXELS.
    """
    if settings.workers or settings.gpu != "never":
        return settings.workers or 1
    room = (cpus.usable_memory() - _SUPERVISOR_BYTES) // (_WORKER_BYTES + _MOST_BYTES)
    return max(1, min(cpus.processes(), room))


def memory_budget(settings: Settings) -> MemoryBudget:
    """The budget of a worker with these settings.

    A limit of 0 is derived: each worker gets an equal share of what the processes themselves leave of the usable
    memory. Raises `UserError` when too little is left to decode images in.
    """
    share = (cpus.usable_memory() - _SUPERVISOR_BYTES) // worker_count(settings) - _WORKER_BYTES
    limit = settings.decode_memory_limit or min(_MOST_BYTES, share)
    return MemoryBudget(limit, settings.max_held_bytes or max(settings.max_body_bytes, limit // _HELD_SHARE))
