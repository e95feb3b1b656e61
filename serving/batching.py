"""Images of several requests in one run of the model: what has piled up while it was busy, and never waited for.

In: pixels uint8 [n, height, width, 3] of one request. Out: what the model answers to each of its images. The model runs
in threads of its own: with one client an image is handed over once, waits for nobody and has all CPUs; with many
clients the pile is as high as the model is slow, and runs beside each other have a CPU each, which wastes none of them.
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

MOST: Final = 32  # images in one run of the model: more are not faster, and take memory


@dataclass(eq=False, slots=True)
class _Piece:
    """The images of one request: `begin` is called when their run begins, `waiter` gets the answers or the error."""

    pixels: Pixels
    begin: Callable[[], None]
    waiter: "asyncio.Future[Sequence[Any]] | SimpleQueue[Sequence[Any] | Exception]"


_Reply = tuple[_Piece, Sequence[Any] | Exception]


class Batches:
    """Runs `model`, at most `runs` times at once; `pool` bounds how much waits for it, and for how long."""

    def __init__(self, model: Model, runs: int, pool: Pool) -> None:
        self._model = model
        self._pool = pool
        self._pile: deque[_Piece] = deque()
        self._running = 0
        self._lock = threading.Lock()  # of both: what gives up is not taken, what is taken does not give up
        self._wake: SimpleQueue[bool] = SimpleQueue()
        for number in range(runs):
            name, arguments = f"model-{number}", (self._wake, weakref.ref(self))
            threading.Thread(target=_work, args=arguments, name=name, daemon=True).start()
            weakref.finalize(self, self._wake.put, False)

    async def run(self, pixels: Pixels, begin: Callable[[], None]) -> Sequence[Any]:
        """What the model answers to at most `MOST` images. They take a place of the pool's.

        Raises `RequestError` as `Pool.run` does. Images that were still waiting when their time was up are never run.
        """
        self._pool.enter()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Sequence[Any]] = loop.create_future()
        piece = _Piece(pixels, begin, future)
        timer = loop.call_later(self._pool.time_limit, self._give_up, piece, future)
        self._add(piece)
        try:
            return await future
        finally:
            timer.cancel()

    def run_in_turn(self, pixels: Pixels) -> Sequence[Any]:
        """The same for a thread that waits here, and has a place of the pool's where it needs one."""
        waiter: SimpleQueue[Sequence[Any] | Exception] = SimpleQueue()
        self._add(_Piece(pixels, _nothing, waiter))
        answers = waiter.get()
        if isinstance(answers, Exception):
            raise answers
        return answers

    def work(self) -> None:
        """Run what has piled up, once."""
        batch, alone = self._take()
        if not batch:
            return
        for piece in batch:
            piece.begin()
        replies = self._run(batch, alone)
        with self._lock:
            self._running -= 1
        self._reply(replies)

    def _add(self, piece: _Piece) -> None:
        assert len(piece.pixels) <= MOST
        self._pile.append(piece)
        self._wake.put(True)

    def _take(self) -> tuple[list[_Piece], bool]:
        """As many pieces as one run can hold. Each has its own call of `work`, so that what is left is run next."""
        batch: list[_Piece] = []
        images = 0
        with self._lock:
            while self._pile and images + len(self._pile[0].pixels) <= MOST:
                batch.append(self._pile.popleft())
                images += len(batch[-1].pixels)
            alone = not self._running and not self._pile
            self._running += bool(batch)
        return batch, alone

    def _run(self, batch: list[_Piece], alone: bool) -> list[_Reply]:
        try:
            pixels = batch[0].pixels if len(batch) == 1 else np.concatenate([piece.pixels for piece in batch])
            rows = self._model(pixels, alone)
        except Exception as error:
            if len(batch) == 1:
                return [(batch[0], error)]
            # Each by itself: one that cannot be run must not fail its neighbours.
            return [reply for piece in batch for reply in self._run([piece], alone)]
        replies: list[_Reply] = []
        first = 0
        for piece in batch:
            replies.append((piece, rows[first : first + len(piece.pixels)]))
            first += len(piece.pixels)
        return replies

    def _reply(self, replies: list[_Reply]) -> None:
        on_loop = []
        for piece, answers in replies:
            if isinstance(piece.waiter, SimpleQueue):
                piece.waiter.put(answers)
            else:
                on_loop.append((piece.waiter, answers))
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

    def _give_up(self, piece: _Piece, future: "asyncio.Future[Sequence[Any]]") -> None:
        with self._lock:
            waits = piece in self._pile
            if waits:
                self._pile.remove(piece)
        if waits:
            self._pool.leave()  # what runs keeps its place until it ends
        if not future.done():
            future.set_exception(self._pool.timed_out())


def _work(wake: "SimpleQueue[bool]", reference: "weakref.ref[Batches]") -> None:
    """Until its `Batches` is gone: the thread must not be what keeps it."""
    while wake.get():
        batches = reference()
        if batches is not None:
            batches.work()
        del batches


def _nothing() -> None:
    pass
