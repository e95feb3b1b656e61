"""A pending request keeps its place while anything of it runs, and loses it at once when only waiting is left."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from serving.errors import RequestError
from serving.inference.batching import Batcher, Pixels
from serving.inference.pending import PendingRequest
from serving.inference.scheduler import Cost, Scheduler, Steps
from serving.limits import AdmissionControl, MemoryBudget

SECONDS = 10.0
ONE = np.zeros((1, 1, 1, 3), np.uint8)


class Bench:
    """One decoding thread, one for the model, both of which wait for their event; `places` for requests."""

    def __init__(self, places: int = 9) -> None:
        self.decode, self.model = threading.Event(), threading.Event()
        self.decoded, self.runs = 0, 0
        self.admission = AdmissionControl(places)
        self.scheduler = Scheduler(1, MemoryBudget(100_000_000, 1_000_000))
        self.batcher = Batcher(self._run, 1)

    def _run(self, pixels: Pixels, alone: bool) -> Sequence[Any]:
        self.runs += 1
        self.model.wait(SECONDS)
        return list(range(len(pixels)))

    def steps(self, pending: PendingRequest, images: int = 1) -> Steps:
        for _ in range(images):
            yield Cost(0, 0)
            self.decoded += 1
            self.decode.wait(SECONDS)
            pending.infer(ONE, lambda: None, lambda rows: None)

    def start(self, images: int = 1) -> PendingRequest:
        pending = PendingRequest(self.admission, self.scheduler, self.batcher)
        pending.decode(self.steps(pending, images))
        return pending


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.decode.set()
    made.model.set()


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to that")


async def code_of(waiting: Awaitable[None]) -> str | None:
    try:
        await waiting
    except RequestError as error:
        return error.code
    return None


def test_all_images_are_decoded_and_run_before_it_is_done(bench: Bench) -> None:
    async def main() -> None:
        bench.decode.set()
        bench.model.set()
        await bench.start(5).wait(SECONDS)
        assert bench.decoded == 5
        assert bench.admission.pending == 0

    asyncio.run(main())


def test_what_waits_when_its_time_is_up_is_never_begun_and_what_runs_keeps_its_place(bench: Bench) -> None:
    async def main() -> None:
        tasks = [asyncio.create_task(code_of(bench.start().wait(0.2))) for _ in range(4)]
        assert await asyncio.gather(*tasks) == ["timed_out"] * 4
        assert bench.admission.pending == 1  # of the four only the one that is being decoded
        bench.decode.set()
        await until(lambda: bench.admission.pending == 0)
        assert bench.decoded == 1
        assert bench.runs == 0  # it was decoded, but too late to be run

    asyncio.run(main())


def test_a_batch_whose_time_is_up_stops_after_the_image_that_is_being_decoded(bench: Bench) -> None:
    async def main() -> None:
        task = asyncio.create_task(code_of(bench.start(64).wait(0.2)))
        assert await task == "timed_out"
        bench.decode.set()
        await until(lambda: bench.admission.pending == 0)
        assert bench.decoded == 1

    asyncio.run(main())


def test_the_work_of_a_client_that_is_gone_is_dropped(bench: Bench) -> None:
    async def main() -> None:
        gone = asyncio.Event()

        async def disconnected() -> None:
            await gone.wait()

        first = asyncio.create_task(code_of(bench.start().wait(SECONDS)))
        others = [asyncio.create_task(code_of(bench.start().wait(SECONDS, disconnected))) for _ in range(5)]
        await until(lambda: bench.decoded == 1)
        assert bench.admission.pending == 6
        gone.set()
        assert await asyncio.gather(*others) == ["client_gone"] * 5
        assert bench.admission.pending == 1
        bench.decode.set()
        bench.model.set()
        assert await first is None
        assert (bench.decoded, bench.runs) == (1, 1)

    asyncio.run(main())


def test_images_that_wait_for_the_model_are_dropped_too(bench: Bench) -> None:
    async def main() -> None:
        bench.decode.set()
        running = asyncio.create_task(code_of(bench.start().wait(SECONDS)))
        await until(lambda: bench.runs == 1)
        assert await code_of(bench.start(3).wait(0.2)) == "timed_out"
        assert bench.admission.pending == 1
        bench.model.set()
        assert await running is None
        assert bench.runs == 1

    asyncio.run(main())


def test_what_a_step_or_the_model_raises_comes_back_and_the_place_with_it(bench: Bench) -> None:
    def fail(pixels: Pixels, alone: bool) -> Sequence[Any]:
        raise ZeroDivisionError

    def steps() -> Steps:
        yield Cost(0, 0)
        raise KeyError

    async def main() -> None:
        bench.batcher = Batcher(fail, 1)
        bench.decode.set()
        with pytest.raises(ZeroDivisionError):
            await bench.start().wait(SECONDS)
        pending = PendingRequest(bench.admission, bench.scheduler, bench.batcher)
        pending.decode(steps())
        with pytest.raises(KeyError):
            await pending.wait(SECONDS)
        assert bench.admission.pending == 0

    asyncio.run(main())


def test_a_place_is_taken_at_once_and_there_is_none_for_more() -> None:
    async def main() -> None:
        bench = Bench(places=2)
        pending = [bench.start(), bench.start()]
        with pytest.raises(RequestError) as caught:
            bench.start()
        assert caught.value.code == "overloaded"
        bench.decode.set()
        bench.model.set()
        for request in pending:
            await request.wait(SECONDS)

    asyncio.run(main())


def test_cancelling_the_handler_drops_what_waits(bench: Bench) -> None:
    async def main() -> None:
        running = asyncio.create_task(bench.start().wait(SECONDS))
        await until(lambda: bench.decoded == 1)
        task = asyncio.create_task(bench.start().wait(SECONDS))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.sleep(0.02)
        assert bench.admission.pending == 1
        bench.decode.set()
        bench.model.set()
        await running

    asyncio.run(main())
