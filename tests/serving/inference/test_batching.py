"""Images of several requests in one run: what is queued meanwhile, and nobody waits or fails for others."""

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from serving.inference.batching import MAX_BATCH, Batcher, Item, Pixels

SECONDS = 5.0


def pixels(*values: int) -> Pixels:
    return np.array(values, np.uint8)[:, None, None, None]


class Model:
    """Answers the value of each image; waits for `release` first; 13 cannot be run."""

    def __init__(self) -> None:
        self.runs: list[list[int]] = []
        self.alone: list[bool] = []
        self.release = threading.Event()

    def __call__(self, images: Pixels, alone: bool) -> Sequence[Any]:
        values = images[:, 0, 0, 0].tolist()
        self.runs.append(values)
        self.alone.append(alone)
        self.release.wait(SECONDS)
        if 13 in values:
            raise ZeroDivisionError
        return values


@pytest.fixture
def model() -> Iterator[Model]:
    made = Model()
    yield made
    made.release.set()


def submit(
    batcher: Batcher, *values: int, on_start: Callable[[], None] = lambda: None
) -> tuple[Item, "asyncio.Future[Any]"]:
    """The item, and the future of what the model answers to it."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def on_end(rows: Sequence[Any] | Exception) -> Callable[[], None]:
        if isinstance(rows, Exception):
            return lambda: future.set_exception(rows)
        return lambda: future.set_result(list(rows))

    item = Item(pixels(*values), loop, on_start, on_end)
    batcher.submit(item)
    return item, future


async def until(condition: Any) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to that")


def test_one_image_is_run_at_once_and_by_itself(model: Model) -> None:
    async def main() -> None:
        batcher = Batcher(model, 2)
        model.release.set()
        assert await submit(batcher, 7)[1] == [7]

    asyncio.run(main())
    assert model.runs == [[7]]
    assert model.alone == [True]


def test_what_arrives_meanwhile_is_run_together_and_everyone_gets_his_own(model: Model) -> None:
    async def main() -> None:
        batcher = Batcher(model, 1)
        futures = [submit(batcher, 0)[1]]
        await until(lambda: model.runs)
        futures += [submit(batcher, *range(10 * n, 10 * n + n))[1] for n in range(1, 5)]
        model.release.set()
        answers = await asyncio.gather(*futures)
        assert answers == [[0], [10], [20, 21], [30, 31, 32], [40, 41, 42, 43]]

    asyncio.run(main())
    assert model.runs == [[0], [10, 20, 21, 30, 31, 32, 40, 41, 42, 43]]


def test_no_run_is_larger_than_the_most(model: Model) -> None:
    async def main() -> None:
        batcher = Batcher(model, 1)
        futures = [submit(batcher, 0)[1]]
        await until(lambda: model.runs)
        futures += [submit(batcher, *[n] * (MAX_BATCH // 2 + 1))[1] for n in range(1, 4)]
        model.release.set()
        await asyncio.gather(*futures)

    asyncio.run(main())
    assert [len(run) for run in model.runs] == [1, *[MAX_BATCH // 2 + 1] * 3]


def test_a_second_run_may_go_beside_the_first_and_knows_that_it_is_not_alone(model: Model) -> None:
    async def main() -> None:
        batcher = Batcher(model, 2)
        futures = [submit(batcher, 1)[1]]
        await until(lambda: len(model.runs) == 1)
        futures.append(submit(batcher, 2)[1])
        await until(lambda: len(model.runs) == 2)
        model.release.set()
        await asyncio.gather(*futures)
        assert await submit(batcher, 3)[1] == [3]

    asyncio.run(main())
    assert model.alone == [True, False, True]


def test_an_image_that_cannot_be_run_fails_alone(model: Model) -> None:
    async def main() -> None:
        batcher = Batcher(model, 1)
        futures = [submit(batcher, 0)[1]]
        await until(lambda: model.runs)
        futures += [submit(batcher, n)[1] for n in (12, 13, 14)]
        model.release.set()
        answers = await asyncio.gather(*futures, return_exceptions=True)
        assert [answers[n] for n in (0, 1, 3)] == [[0], [12], [14]]
        assert isinstance(answers[2], ZeroDivisionError)

    asyncio.run(main())


def test_what_is_discarded_is_never_run_and_what_runs_cannot_be_discarded(model: Model) -> None:
    started: list[int] = []

    async def main() -> None:
        batcher = Batcher(model, 1)
        first, answer = submit(batcher, 1, on_start=lambda: started.append(1))
        await until(lambda: model.runs)
        second, _ = submit(batcher, 2, on_start=lambda: started.append(2))
        assert batcher.discard(second)
        assert not batcher.discard(second)
        assert not batcher.discard(first)
        model.release.set()
        assert await answer == [1]
        assert await submit(batcher, 3)[1] == [3]

    asyncio.run(main())
    assert started == [1]
    assert model.runs == [[1], [3]]


def test_its_threads_end_with_it(model: Model) -> None:
    before = set(threading.enumerate())
    batcher = Batcher(model, 3)
    own = set(threading.enumerate()) - before
    assert len(own) == 3
    del batcher
    gc.collect()
    for thread in own:
        thread.join(SECONDS)
        assert not thread.is_alive()


class OtherWorkers:
    """A scoreboard on which other workers have so many runs."""

    def __init__(self, runs: int) -> None:
        self.runs = runs
        self.own: list[int] = []

    def runs_elsewhere(self) -> int:
        return self.runs

    def set_runs(self, count: int) -> None:
        self.own.append(count)


@pytest.mark.parametrize(("elsewhere", "at_once", "alone"), [(0, 2, True), (1, 1, False), (2, 1, False)])
def test_while_other_workers_are_busy_one_takes_its_share(
    model: Model, elsewhere: int, at_once: int, alone: bool
) -> None:
    board: Any = OtherWorkers(elsewhere)

    async def main() -> None:
        batcher = Batcher(model, 2, 1, board)
        futures = [submit(batcher, 1)[1]]
        await until(lambda: model.runs)
        futures.append(submit(batcher, 2)[1])
        futures.append(submit(batcher, 3)[1])
        await until(lambda: len(model.runs) == at_once)
        await asyncio.sleep(0.1)
        assert len(model.runs) == at_once
        model.release.set()
        assert await asyncio.gather(*futures) == [[1], [2], [3]]

    asyncio.run(main())
    assert model.alone[0] is alone
    assert max(board.own) == at_once
    assert board.own[-1] == 0


def test_a_run_in_the_callers_thread_is_counted_as_any_other(model: Model) -> None:
    model.release.set()
    board: Any = OtherWorkers(0)
    batcher = Batcher(model, 2, 1, board)
    assert batcher.run_here(pixels(7)) == [7]
    with pytest.raises(ZeroDivisionError):
        batcher.run_here(pixels(13))
    assert board.own == [1, 0, 1, 0]
    assert model.alone == [True, True]


def test_what_arrives_during_a_run_in_the_callers_thread_is_run_after_it(model: Model) -> None:
    async def main() -> None:
        batcher = Batcher(model, 1)
        here = asyncio.create_task(asyncio.to_thread(batcher.run_here, pixels(7)))
        await until(lambda: model.runs)
        _, future = submit(batcher, 8)
        await asyncio.sleep(0.1)  # the model's thread is woken, and finds that no more may run
        model.release.set()
        assert await here == [7]
        assert await asyncio.wait_for(future, SECONDS) == [8]

    asyncio.run(main())
