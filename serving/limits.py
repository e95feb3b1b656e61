"""Bounded work and bounded memory: what the requests of one worker process may take together.

`Pool`: a function goes in, its result comes out. It runs in a thread; a piece that was started is never abandoned: it
keeps its place until it ends, also when its client was told that the time is up, so that there is never more work than
was configured. `MemoryBudget` counts the bytes of request bodies and of images that are being decoded.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, TypeVar

from alexnet.errors import UserError
from alexnet.inference import cpus
from serving.errors import RequestError
from serving.settings import Settings

Result = TypeVar("Result")

_MEGABYTE: Final = 1_000_000
# Measured with two workers: `python -m benchmarks.startup`. What a process takes before the first request, rounded up
# to leave room for the model's runs and for what the allocator keeps.
_SUPERVISOR_BYTES: Final = 80 * _MEGABYTE
_WORKER_BYTES: Final = 130 * _MEGABYTE
_MOST_BYTES: Final = 512 * _MEGABYTE  # enough for every image of the default ALEXNET_MAX_PIXELS
_LEAST_DECODE_BYTES: Final = 16 * _MEGABYTE
_HELD_SHARE: Final = 4  # bodies take a quarter


class Pool:
    """`concurrency` threads, at most `queue` pieces waiting for one, `time_limit` seconds for each."""

    def __init__(self, concurrency: int, queue: int, time_limit: float) -> None:
        self._executor = ThreadPoolExecutor(concurrency, thread_name_prefix="classify")
        self._capacity = concurrency + queue
        self.time_limit = time_limit
        self.pending = 0  # working and waiting; touched on the event loop alone

    async def run(self, work: Callable[[], Result]) -> Result:
        """The result of `work()`.

        Raises `RequestError`: `overloaded` when too many wait, `timed_out` when it takes too long. Work that was still
        waiting when its time was up is never begun.
        """
        self.enter()
        loop = asyncio.get_running_loop()
        future = self._executor.submit(work)
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self.leave))
        waiter = asyncio.wrap_future(future)
        done, _ = await asyncio.wait({waiter}, timeout=self.time_limit)
        if not done:
            waiter.cancel()  # hands the cancellation on: takes effect when the work has not begun
            raise self.timed_out()
        return waiter.result()

    def enter(self) -> None:
        """Take a place for a piece of work. Raises `RequestError` `overloaded` when there is none."""
        self.check()
        self.pending += 1

    def check(self) -> None:
        """Raise `RequestError` `overloaded` when there is no place."""
        if self.pending >= self._capacity:
            raise RequestError("overloaded", "Too many requests wait already; try again in a moment.")

    def leave(self) -> None:
        """Give the place back."""
        self.pending -= 1

    def timed_out(self) -> RequestError:
        """What a client is told whose time is up."""
        return RequestError("timed_out", f"No answer within {self.time_limit:g} seconds.")

    def close(self) -> None:
        """Wait for the work that has begun; drop what has not."""
        self._executor.shutdown(wait=True, cancel_futures=True)


class MemoryBudget:
    """Bytes of this process for request bodies and for decoding: never more than `limit` together.

    Bodies hold at most `max_held`; one that does not fit is refused, since only its own client knows when it will be
    complete. Decoding has the rest, `decode_limit`, to itself: what does not fit now waits for others to end, in the
    order of arrival, so a large image is not overtaken for ever. A decode never waits for a body, hence no deadlock.
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
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def hold(self) -> Iterator[Callable[[int], None]]:
        """A function that adds to the bytes of one request's body; when the block ends they are given back.

        The function raises `RequestError` `overloaded` when there is no room. For the event loop.
        """
        own = 0

        def add(size: int) -> None:
            nonlocal own
            if self.held + size > self.max_held:
                raise RequestError("overloaded", "Too many uploads at once; try again in a moment.")
            own += size
            self.held += size

        try:
            yield add
        finally:
            self.held -= own

    @contextmanager
    def decode(self, cost: int, deadline: float) -> Iterator[None]:
        """Wait until `cost` bytes are free and keep them for the block. For threads, never for the event loop.

        `deadline` is a value of `time.monotonic()`. Raises `RequestError`: `too_many_pixels` at once when `cost` can
        never fit, `timed_out` at the deadline.
        """
        if cost > self.decode_limit:
            raise RequestError(
                "too_many_pixels",
                f"Decoding the image would take {cost // _MEGABYTE} MB; at most {self.decode_limit // _MEGABYTE} MB "
                "are allowed (ALEXNET_DECODE_MEMORY_LIMIT).",
            )
        with self._changed:
            self._wait(cost, deadline)
            self.decoding += cost
        try:
            yield
        finally:
            with self._changed:
                self.decoding -= cost
                self._changed.notify_all()

    def _wait(self, cost: int, deadline: float) -> None:
        ticket = object()
        self._waiting.append(ticket)
        try:
            while self._waiting[0] is not ticket or self.decoding + cost > self.decode_limit:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise RequestError("timed_out", "No memory to decode the image was free within the time limit.")
                self._changed.wait(left)
        finally:
            self._waiting.remove(ticket)
            self._changed.notify_all()


def memory_budget(settings: Settings) -> MemoryBudget:
    """The budget of a worker with these settings.

    A limit of 0 is derived: each worker gets an equal share of what the processes themselves leave of the usable
    memory. Raises `UserError` when too little is left to decode images in.
    """
    workers, _ = cpus.divide(settings.workers, settings.gpu != "never")
    share = (cpus.usable_memory() - _SUPERVISOR_BYTES) // workers - _WORKER_BYTES
    limit = settings.decode_memory_limit or min(_MOST_BYTES, share)
    return MemoryBudget(limit, settings.max_held_bytes or max(settings.max_body_bytes, limit // _HELD_SHARE))
