"""Dynamic batching: one run of the model for the images that were queued while it was busy. None waits for a batch.

In: pixels uint8 [n, height, width, 3] of one request. Out: the model's answer for each of its images. The model runs in
threads of its own: with one client an image is handed over once, waits for nobody and has all CPUs; with many clients
the queue is as long as the model is slow, and concurrent runs have a CPU each, which wastes none of them.
"""

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from serving.limits import Pool

Pixels = npt.NDArray[np.uint8]
# What the model answers to pixels, for each image in turn one thing; and whether this run is alone.
Model = Callable[[Pixels, bool], Sequence[Any]]

MAX_BATCH: Final = 32  # images in one run of the model: more are not faster, and take memory


@dataclass(eq=False, slots=True)
class _Item:
    """The images of one request: `begin` is called when their run begins, `waiter` gets the answers or the error."""

    pixels: Pixels
    begin: Callable[[], None]
    waiter: "asyncio.Future[Sequence[Any]] | SimpleQueue[Sequence[Any] | Exception]"


_Reply = tuple[_Item, Sequence[Any] | Exception]


class Batcher:
    """Runs `model`, at most `runs` times at once; `pool` bounds how much waits for it, and for how long."""

    def __init__(self, model: Model, runs: int, pool: Pool) -> None:
        self._model = model
        self._pool = pool
        self._queue: deque[_Item] = deque()
        self._running = 0
        self._lock = threading.Lock()  # of both: what gives up is not taken, what is taken does not give up
        self._wake: SimpleQueue[bool] = SimpleQueue()
        for number in range(runs):
            name, arguments = f"model-{number}", (self._wake, weakref.ref(self))
            threading.Thread(target=_work, args=arguments, name=name, daemon=True).start()
            weakref.finalize(self, self._wake.put, False)

    async def run(self, pixels: Pixels, begin: Callable[[], None]) -> Sequence[Any]:
        """What the model answers to at most `MAX_BATCH` images. They take a place of the pool's.

        Raises `RequestError` as `Pool.run` does. Images that were still waiting when their time was up are never run.
        """
        self._pool.enter()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Sequence[Any]] = loop.create_future()
        item = _Item(pixels, begin, future)
        timer = loop.call_later(self._pool.time_limit, self._give_up, item, future)
        self._add(item)
        try:
            return await future
        finally:
            timer.cancel()

    def run_in_turn(self, pixels: Pixels) -> Sequence[Any]:
        """The same for a thread that waits here, and has a place of the pool's where it needs one."""
        waiter: SimpleQueue[Sequence[Any] | Exception] = SimpleQueue()
        self._add(_Item(pixels, _nothing, waiter))
        answers = waiter.get()
        if isinstance(answers, Exception):
            raise answers
        return answers

    def work(self) -> None:
        """Run what is queued, once."""
        batch, alone = self._take()
        if not batch:
            return
        for item in batch:
            item.begin()
        replies = self._run(batch, alone)
        with self._lock:
            self._running -= 1
        self._reply(replies)

    def _add(self, item: _Item) -> None:
        assert len(item.pixels) <= MAX_BATCH
        self._queue.append(item)
        self._wake.put(True)

    def _take(self) -> tuple[list[_Item], bool]:
        """As many items as one run can hold. Each has its own call of `work`, so that what is left is run next."""
        batch: list[_Item] = []
        images = 0
        with self._lock:
            while self._queue and images + len(self._queue[0].pixels) <= MAX_BATCH:
                batch.append(self._queue.popleft())
                images += len(batch[-1].pixels)
            alone = not self._running and not self._queue
            self._running += bool(batch)
        return batch, alone

    def _run(self, batch: list[_Item], alone: bool) -> list[_Reply]:
        try:
            pixels = batch[0].pixels if len(batch) == 1 else np.concatenate([item.pixels for item in batch])
            rows = self._model(pixels, alone)
        except Exception as error:
            if len(batch) == 1:
                return [(batch[0], error)]
            # Each by itself: one that cannot be run must not fail its neighbours.
            return [reply for item in batch for reply in self._run([item], alone)]
        replies: list[_Reply] = []
        first = 0
        for item in batch:
            replies.append((item, rows[first : first + len(item.pixels)]))
            first += len(item.pixels)
        return replies

    def _reply(self, replies: list[_Reply]) -> None:
        on_loop = []
        for item, answers in replies:
            if isinstance(item.waiter, SimpleQueue):
                item.waiter.put(answers)
            else:
                on_loop.append((item.waiter, answers))
        if on_loop:
            on_loop[0][0].get_loop().call_soon_threadsafe(self._tell, on_loop)  # once for all of them

    def _tell(self, replies: "list[tuple[asyncio.Future[Sequence[Any]], Sequence[Any] | Exception]]") -> None:
        for future, answers in replies:
            self._pool.leave()
            if future.done():  # its time was up, or its client is gone
                continue
            if isinstance(answers, Exception):
                future.set_exception(answers)
            else:
                future.set_result(answers)

    def _give_up(self, item: _Item, future: "asyncio.Future[Sequence[Any]]") -> None:
        with self._lock:
            waits = item in self._queue
            if waits:
                self._queue.remove(item)
        if waits:
            self._pool.leave()  # what runs keeps its place until it ends
        if not future.done():
            future.set_exception(self._pool.timed_out())


def _work(wake: "SimpleQueue[bool]", reference: "weakref.ref[Batcher]") -> None:
    """Until its `Batcher` is gone: the thread must not be what keeps it."""
    while wake.get():
        batcher = reference()
        if batcher is not None:
            batcher.work()
        del batcher


def _nothing() -> None:
    pass
