"""Bounded work: so many pieces at once, so many waiting, none waited for longer than the time limit.

In: a function. Out: its result. It runs in a thread; a piece that was started is never abandoned: it keeps its place
until it ends, also when its client was told that the time is up, so that there is never more work than was configured.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from alexnet.errors import RequestError

Result = TypeVar("Result")


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
