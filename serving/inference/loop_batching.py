"""Dynamic batching on the event loop's own thread, for small images: one run for those that arrived during the last.

In: pixels uint8 [n, height, width, 3] of requests, already decoded. Out: the model's answer for each image. For a
worker whose share is one CPU: if it handed images to a thread, that and the event loop would share the CPU, and wait
for the GIL besides. What arrives during a run is decoded after it and is the next batch.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from serving.inference.pending import timed_out
from serving.limits import AdmissionControl

Pixels = npt.NDArray[np.uint8]

LOOP_SECONDS: Final = 0.02  # of a run, during which no other request of the worker is looked at


@dataclass(eq=False, slots=True)
class _Waiting:
    pixels: Pixels
    asked: float  # by `time.perf_counter`
    answers: asyncio.Future[Sequence[Any]]


class LoopBatcher:
    """Runs `model`, which takes pixels uint8 [N, height, width, 3] to N answers, on at most `most` images at once.

    A request has no more. Each takes a place of `admission`; `observe` is told the seconds that it waited. For the
    event loop alone.
    """

    def __init__(
        self,
        model: Callable[[Pixels], Sequence[Any]],
        most: int,
        admission: AdmissionControl,
        time_limit: float,
        observe: Callable[[float], None],
    ) -> None:
        self.most = most
        self._model = model
        self._admission = admission
        self._time_limit = time_limit
        self._observe = observe
        self._queue: deque[_Waiting] = deque()

    async def infer(self, pixels: Pixels) -> Sequence[Any]:
        """The model's answers. Raises `RequestError` `overloaded` or `timed_out`, and what the model raises."""
        assert len(pixels) <= self.most
        self._admission.enter()
        try:
            loop = asyncio.get_running_loop()
            waiting = _Waiting(pixels, time.perf_counter(), loop.create_future())
            if not self._queue:
                loop.call_soon(self._run_next, loop)
            self._queue.append(waiting)
            return await waiting.answers
        finally:
            self._admission.leave()

    def _run_next(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run as many as one run may have; the loop looks at connections before it runs the rest."""
        now = time.perf_counter()
        batch: list[_Waiting] = []
        room = self.most
        while self._queue and len(self._queue[0].pixels) <= room:
            waiting = self._queue.popleft()
            if waiting.answers.done():  # cancelled
                continue
            if now - waiting.asked > self._time_limit:
                waiting.answers.set_exception(timed_out(self._time_limit))
            else:
                self._observe(now - waiting.asked)
                batch.append(waiting)
                room -= len(waiting.pixels)
        if batch:
            self._run(batch)
        if self._queue:
            loop.call_soon(self._run_next, loop)

    def _run(self, batch: Sequence[_Waiting]) -> None:
        try:
            rows = self._model(batch[0].pixels if len(batch) == 1 else np.concatenate([one.pixels for one in batch]))
        except Exception as error:
            if len(batch) == 1:
                batch[0].answers.set_exception(error)
                return
            for waiting in batch:  # each by itself: one that cannot be run must not fail its neighbours
                self._run([waiting])
        else:
            first = 0
            for waiting in batch:
                last = first + len(waiting.pixels)
                waiting.answers.set_result(rows[first:last])
                first = last
