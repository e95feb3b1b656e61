"""Images that are run together on the event loop's own thread: nobody waits, is late or fails for others."""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any

import numpy as np
import pytest

from serving.errors import RequestError
from serving.inference.loop_batching import LoopBatcher, Pixels
from serving.limits import AdmissionControl


class Model:
    """Answers the value of each image; 13 cannot be run."""

    def __init__(self) -> None:
        self.runs: list[list[int]] = []
        self.threads: set[threading.Thread] = set()

    def __call__(self, images: Pixels) -> Sequence[Any]:
        values: list[int] = images[:, 0, 0, 0].tolist()
        self.runs.append(values)
        self.threads.add(threading.current_thread())
        if 13 in values:
            raise ZeroDivisionError
        return values


def pixels(*values: int) -> Pixels:
    return np.array(values, np.uint8)[:, None, None, None]


def ask(batcher: LoopBatcher, *values: int) -> list[Any]:
    """What each gets that asks in the same iteration of the event loop: an answer or an exception."""

    async def together() -> list[Any]:
        asking: list[Coroutine[Any, Any, Any]] = [batcher.infer(pixels(value)) for value in values]
        return await asyncio.gather(*asking, return_exceptions=True)

    return [found[0] if isinstance(found, list) else found for found in asyncio.run(together())]


def test_who_asks_in_one_iteration_is_run_together_on_the_loops_thread() -> None:
    model, waits = Model(), []
    admission = AdmissionControl(8)
    batcher = LoopBatcher(model, 4, admission, 5, waits.append)
    assert ask(batcher, 1, 2, 3) == [1, 2, 3]
    assert model.runs == [[1, 2, 3]]
    assert model.threads == {threading.current_thread()}
    assert len(waits) == 3
    assert admission.pending == 0


def test_no_run_has_more_than_the_most_and_the_loop_lives_between_runs() -> None:
    model, seen = Model(), []

    async def watched() -> list[Any]:
        batcher = LoopBatcher(model, 2, AdmissionControl(8), 5, lambda _: None)
        asking = asyncio.gather(*[batcher.infer(pixels(value)) for value in range(5)])
        while not asking.done():
            seen.append(len(model.runs))
            await asyncio.sleep(0)
        return await asking

    assert asyncio.run(watched()) == [[0], [1], [2], [3], [4]]
    assert model.runs == [[0, 1], [2, 3], [4]]
    assert {1, 2} <= set(seen)


def test_a_request_of_several_images_gets_its_own_answers_and_is_not_divided() -> None:
    model = Model()

    async def together() -> list[Any]:
        batcher = LoopBatcher(model, 4, AdmissionControl(8), 5, lambda _: None)
        return await asyncio.gather(*[batcher.infer(pixels(*values)) for values in ((1,), (2, 3), (4, 5), (6,))])

    assert asyncio.run(together()) == [[1], [2, 3], [4, 5], [6]]
    assert model.runs == [[1, 2, 3], [4, 5, 6]]


def test_an_image_that_cannot_be_run_fails_alone() -> None:
    admission = AdmissionControl(8)
    first, second, third = ask(LoopBatcher(Model(), 4, admission, 5, lambda _: None), 1, 13, 3)
    assert (first, third) == (1, 3)
    assert isinstance(second, ZeroDivisionError)
    assert admission.pending == 0


def test_who_finds_no_place_is_told_so_and_who_is_late_is_not_run() -> None:
    model = Model()
    *first, last = ask(LoopBatcher(model, 4, AdmissionControl(2), 5, lambda _: None), 1, 2, 3)
    assert first == [1, 2]
    assert isinstance(last, RequestError)
    assert last.code == "overloaded"
    late = ask(LoopBatcher(model, 4, AdmissionControl(2), -1, lambda _: None), 4, 5)
    assert [error.code for error in late] == ["timed_out"] * 2
    assert model.runs == [[1, 2]]


def test_who_is_cancelled_is_not_run_and_gives_the_place_back() -> None:
    model, admission = Model(), AdmissionControl(2)

    async def cancelled() -> Any:
        batcher = LoopBatcher(model, 4, admission, 5, lambda _: None)
        gone = asyncio.ensure_future(batcher.infer(pixels(1)))
        stays = asyncio.ensure_future(batcher.infer(pixels(2)))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        return await stays

    assert asyncio.run(cancelled()) == [2]
    assert model.runs in ([[1, 2]], [[2]])
    assert admission.pending == 0
