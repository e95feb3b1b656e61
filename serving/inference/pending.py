"""A request from its admission to its answer, in time or not.

In: its decoding steps and its images for the model. Out: that all of them have ended, or the `RequestError` that came
first: its time is up, or its client is gone. Then what waits is dropped at once. What runs is never abandoned: the
request keeps its place until that has ended, so that there is never more work than was configured.
"""

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from serving.errors import RequestError
from serving.inference.batching import Batcher, Callback, Item, Pixels
from serving.inference.scheduler import Scheduler, Steps, Task
from serving.limits import AdmissionControl

# Waits until the client is gone.
Disconnected = Callable[[], Awaitable[None]]


class PendingRequest:
    """Takes a place of `admission`. Raises `RequestError` `overloaded` when there is none. Made on the event loop."""

    def __init__(self, admission: AdmissionControl, scheduler: Scheduler, batcher: Batcher) -> None:
        admission.enter()
        self._admission = admission
        self._scheduler = scheduler
        self._batcher = batcher
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._lock = threading.Lock()  # of all below
        self._tasks: list[Task] = []
        self._items: list[Item] = []
        self._outstanding = 0  # tasks and items whose end is still to be told
        self._failure: Exception | None = None
        self._abandoned = False

    def decode(self, steps: Steps) -> None:
        """Let the scheduler run `steps`, which may call `infer`."""
        task = Task(steps, self._end_of_steps)
        with self._lock:
            self._outstanding += 1
            self._tasks.append(task)
        self._scheduler.submit(task)

    def infer(self, pixels: Pixels, on_start: Callback, on_rows: Callable[[Sequence[Any]], None]) -> None:
        """Let the model run on `pixels`; `on_rows` is told its answers. From any thread."""
        item = Item(pixels, self._loop, on_start, functools.partial(self._end_of_item, on_rows))
        with self._lock:
            if self._abandoned:
                return
            self._outstanding += 1
            self._items.append(item)
        self._batcher.submit(item)

    async def wait(self, seconds: float, disconnected: Disconnected | None = None) -> None:
        """Until all has ended. Raises `RequestError` `timed_out` or `client_gone`, or what a step or the model raised.

        `disconnected` returns when the client is gone.
        """
        timer = self._loop.call_later(seconds, self._abandon, timed_out(seconds))
        watcher = None if disconnected is None else asyncio.create_task(self._watch(disconnected))
        try:
            await self._done
        except asyncio.CancelledError:
            self._abandon(None)
            raise
        finally:
            timer.cancel()
            if watcher is not None:
                watcher.cancel()

    async def _watch(self, disconnected: Disconnected) -> None:
        await disconnected()
        self._abandon(RequestError("client_gone", "The client closed the connection before its answer was there."))

    def _abandon(self, error: RequestError | None) -> None:
        """Drop what waits. On the event loop."""
        if self._done.done() and error is not None:
            return
        with self._lock:
            self._abandoned = True
        if error is not None:
            self._done.set_exception(error)
        dropped = sum(map(self._scheduler.cancel, self._tasks)) + sum(map(self._batcher.discard, self._items))
        if dropped and self._end(dropped):
            self._finish()

    def _end_of_steps(self, failure: Exception | None) -> None:
        if self._end(1, failure):
            self._loop.call_soon_threadsafe(self._finish)

    def _end_of_item(
        self, on_rows: Callable[[Sequence[Any]], None], rows: Sequence[Any] | Exception
    ) -> Callback | None:
        failure = rows if isinstance(rows, Exception) else None
        if not isinstance(rows, Exception):
            on_rows(rows)
        return self._finish if self._end(1, failure) else None

    def _end(self, count: int, failure: Exception | None = None) -> bool:
        """Whether nothing is outstanding any more."""
        with self._lock:
            self._outstanding -= count
            self._failure = self._failure or failure
            return self._outstanding == 0

    def _finish(self) -> None:
        self._admission.leave()
        # They refer to this object, and the failure to the request's body: without them both are freed at once.
        self._tasks.clear()
        self._items.clear()
        failure, self._failure = self._failure, None
        if self._done.done():
            return
        if failure is not None:
            self._done.set_exception(failure)
        else:
            self._done.set_result(None)


def timed_out(seconds: float) -> RequestError:
    """The error of a request that has waited so long."""
    return RequestError("timed_out", f"No answer within {seconds:g} seconds.")
