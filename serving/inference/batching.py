"""Dynamic batching: one run of the model for the images that were queued while it was busy. None waits for a batch.

In: pixels uint8 [n, height, width, 3] of one request. Out: the model's answer for each of its images. The model runs in
threads of its own: with one client an image is handed over once, waits for nobody and has all CPUs; with many clients
the queue is as long as the model is slow, and concurrent runs have a CPU each, which wastes none of them. What runs in
other workers counts: while they are busy, a worker takes its share of the CPUs alone.
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

from serving.scoreboard import Scoreboard

Pixels = npt.NDArray[np.uint8]
# Pixels, and whether no other run is under way, to one answer for each image.
Model = Callable[[Pixels, bool], Sequence[Any]]
Callback = Callable[[], None]

MAX_BATCH: Final = 32  # images in one run of the model: more are not faster, and take memory


@dataclass(eq=False, slots=True)
class Item:
    """At most `MAX_BATCH` images of one request.

    In the model's thread `on_start` is told that their run begins, and `on_end` of their answers, or of the exception
    in their place. What `on_end` returns is called on the event loop `loop`, together with those of the whole run.
    """

    pixels: Pixels
    loop: asyncio.AbstractEventLoop
    on_start: Callback
    on_end: Callable[[Sequence[Any] | Exception], Callback | None]


class Batcher:
    """Runs `model`, at most `runs` times at once in all workers together, and `share` times here whatever they do.

    `scoreboard` tells what the other workers run; without one there are none.
    """

    def __init__(self, model: Model, runs: int, share: int | None = None, scoreboard: Scoreboard | None = None) -> None:
        self._model = model
        self._runs = runs
        self._share = runs if share is None else min(share, runs)
        self._scoreboard = scoreboard
        self._queue: deque[Item] = deque()
        self._running = 0
        self._lock = threading.Lock()  # of both: what is discarded is not run, what runs is not discarded
        self._wake: SimpleQueue[bool] = SimpleQueue()
        for number in range(runs):
            name, arguments = f"model-{number}", (self._wake, weakref.ref(self))
            threading.Thread(target=_work, args=arguments, name=name, daemon=True).start()
            weakref.finalize(self, self._wake.put, False)

    def submit(self, item: Item) -> None:
        """Queue the images of `item`."""
        assert len(item.pixels) <= MAX_BATCH
        self._queue.append(item)
        self._wake.put(True)

    def discard(self, item: Item) -> bool:
        """Drop `item` if it is still queued; then it is told nothing."""
        with self._lock:
            queued = item in self._queue
            if queued:
                self._queue.remove(item)
        return queued

    def run_here(self, pixels: Pixels) -> Sequence[Any]:
        """Run `pixels` in the calling thread, whatever runs or waits."""
        with self._lock:
            alone = self._begin()
        try:
            return self._model(pixels, alone)
        finally:
            self._end()
            if self._queue:  # a thread that was woken meanwhile may have left this to the run that has ended
                self._wake.put(True)

    def work(self) -> None:
        """Run what is queued, until nothing is, or as many runs are under way as there may be."""
        while True:
            batch, alone = self._take()
            if not batch:
                return
            for item in batch:
                item.on_start()
            callbacks = self._run(batch, alone)
            self._end()
            if callbacks:
                batch[0].loop.call_soon_threadsafe(_call, callbacks)  # once for all of them

    def _take(self) -> tuple[list[Item], bool]:
        """As many items as one run can hold; what is left is run next, by who ends a run or is woken."""
        batch: list[Item] = []
        images = 0
        with self._lock:
            if self._running >= max(self._share, self._runs - self._elsewhere()):
                return batch, False
            while self._queue and images + len(self._queue[0].pixels) <= MAX_BATCH:
                batch.append(self._queue.popleft())
                images += len(batch[-1].pixels)
            return batch, self._begin() if batch else False

    def _begin(self) -> bool:
        """Whether the run that begins has all CPUs. With the lock."""
        alone = not self._running and not self._queue and not self._elsewhere()
        self._running += 1
        self._publish()
        return alone

    def _end(self) -> None:
        with self._lock:
            self._running -= 1
            self._publish()

    def _elsewhere(self) -> int:
        return 0 if self._scoreboard is None else self._scoreboard.runs_elsewhere()

    def _publish(self) -> None:
        if self._scoreboard is not None:
            self._scoreboard.set_runs(self._running)

    def _run(self, batch: list[Item], alone: bool) -> list[Callback]:
        try:
            pixels = batch[0].pixels if len(batch) == 1 else np.concatenate([item.pixels for item in batch])
            rows = self._model(pixels, alone)
        except Exception as error:
            if len(batch) > 1:  # each by itself: one that cannot be run must not fail its neighbours
                return [callback for item in batch for callback in self._run([item], alone)]
            callback = batch[0].on_end(error)
            return [] if callback is None else [callback]
        callbacks: list[Callback] = []
        first = 0
        for item in batch:
            callback = item.on_end(rows[first : first + len(item.pixels)])
            first += len(item.pixels)
            if callback is not None:
                callbacks.append(callback)
        return callbacks


def _call(callbacks: list[Callback]) -> None:
    for callback in callbacks:
        callback()


def _work(wake: "SimpleQueue[bool]", reference: "weakref.ref[Batcher]") -> None:
    """Until its `Batcher` is gone: the thread must not be what keeps it."""
    while wake.get():
        batcher = reference()
        if batcher is not None:
            batcher.work()
        del batcher
