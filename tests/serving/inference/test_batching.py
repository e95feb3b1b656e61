"""Images of several requests in one run: what is queued meanwhile, and nobody waits or fails for others."""

import asyncio
import gc
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from serving.errors import RequestError
from serving.inference.batching import MAX_BATCH, Batcher, Pixels
from serving.limits import Pool

SECONDS = 5.0


def pixels(*values: int) -> Pixels:
    return np.array(values, np.uint8)[:, None, None, None]


def nothing() -> None:
    pass


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


async def until(condition: Any) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to that")


def test_one_image_is_run_at_once_and_by_itself(model: Model) -> None:
    async def main() -> None:
        batcher = Batcher(model, 2, Pool(1, 9, SECONDS))
        model.release.set()
        assert list(await batcher.run(pixels(7), nothing)) == [7]

    asyncio.run(main())
    assert model.runs == [[7]]
    assert model.alone == [True]


def test_what_arrives_meanwhile_is_run_together_and_everyone_gets_his_own(model: Model) -> None:
    async def main() -> None:
        pool = Pool(1, 99, SECONDS)
        batcher = Batcher(model, 1, pool)
        tasks = [asyncio.create_task(batcher.run(pixels(0), nothing))]
        await until(lambda: model.runs)
        tasks += [asyncio.create_task(batcher.run(pixels(*range(10 * n, 10 * n + n)), nothing)) for n in range(1, 5)]
        await asyncio.sleep(0)
        assert pool.pending == 5
        threading.Timer(0.05, model.release.set).start()
        answers = [list(answer) for answer in await asyncio.gather(*tasks)]
        assert answers == [[0], [10], [20, 21], [30, 31, 32], [40, 41, 42, 43]]
        assert pool.pending == 0

    asyncio.run(main())
    assert model.runs == [[0], [10, 20, 21, 30, 31, 32, 40, 41, 42, 43]]


def test_no_run_is_larger_than_the_most(model: Model) -> None:
    async def main() -> None:
        batcher = Batcher(model, 1, Pool(1, 99, SECONDS))
        first = asyncio.create_task(batcher.run(pixels(0), nothing))
        await until(lambda: model.runs)
        tasks = [asyncio.create_task(batcher.run(pixels(*[n] * (MAX_BATCH // 2 + 1)), nothing)) for n in range(1, 4)]
        await asyncio.sleep(0)
        model.release.set()
        await asyncio.gather(first, *tasks)

    asyncio.run(main())
    assert [len(run) for run in model.runs] == [1, *[MAX_BATCH // 2 + 1] * 3]


def test_a_second_run_may_go_beside_the_first_and_knows_that_it_is_not_alone(model: Model) -> None:
    async def main() -> None:
        batcher = Batcher(model, 2, Pool(2, 9, SECONDS))
        tasks = [asyncio.create_task(batcher.run(pixels(1), nothing))]
        await until(lambda: len(model.runs) == 1)
        tasks.append(asyncio.create_task(batcher.run(pixels(2), nothing)))
        await until(lambda: len(model.runs) == 2)
        model.release.set()
        await asyncio.gather(*tasks)
        assert list(await batcher.run(pixels(3), nothing)) == [3]

    asyncio.run(main())
    assert model.alone == [True, False, True]


def test_an_image_that_cannot_be_run_fails_alone(model: Model) -> None:
    async def main() -> None:
        pool = Pool(1, 9, SECONDS)
        batcher = Batcher(model, 1, pool)
        tasks = [asyncio.create_task(batcher.run(pixels(0), nothing))]
        await until(lambda: model.runs)
        tasks += [asyncio.create_task(batcher.run(pixels(n), nothing)) for n in (12, 13, 14)]
        await asyncio.sleep(0)
        model.release.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [list(answers[n]) for n in (0, 1, 3)] == [[0], [12], [14]]  # type: ignore[arg-type]
        assert isinstance(answers[2], ZeroDivisionError)
        assert pool.pending == 0

    asyncio.run(main())


def test_what_waits_too_long_is_never_run_and_what_runs_keeps_its_place(model: Model) -> None:
    begun: list[int] = []

    async def main() -> None:
        pool = Pool(1, 9, 0.1)
        batcher = Batcher(model, 1, pool)
        tasks = [asyncio.create_task(batcher.run(pixels(n), lambda n=n: begun.append(n))) for n in (1, 2, 3)]
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [getattr(answer, "code", None) for answer in answers] == ["timed_out"] * 3
        assert pool.pending == len(begun)
        model.release.set()
        await until(lambda: pool.pending == 0)

    asyncio.run(main())
    assert begun[0] == 1
    assert [value for run in model.runs for value in run] == begun


def test_a_client_that_goes_away_does_not_free_the_place_of_its_images(model: Model) -> None:
    async def main() -> None:
        pool = Pool(1, 0, SECONDS)
        batcher = Batcher(model, 1, pool)
        task = asyncio.create_task(batcher.run(pixels(1), nothing))
        await until(lambda: model.runs)
        task.cancel()
        with pytest.raises(RequestError) as refused:
            await batcher.run(pixels(2), nothing)
        assert refused.value.code == "overloaded"
        model.release.set()
        await until(lambda: pool.pending == 0)

    asyncio.run(main())


def test_threads_wait_for_their_turn_and_get_answers_and_errors(model: Model) -> None:
    model.release.set()
    batcher = Batcher(model, 1, Pool(1, 0, SECONDS))
    assert list(batcher.run_in_turn(pixels(5, 6))) == [5, 6]
    with pytest.raises(ZeroDivisionError):
        batcher.run_in_turn(pixels(13))


def test_its_threads_end_with_it(model: Model) -> None:
    before = set(threading.enumerate())
    batcher = Batcher(model, 3, Pool(1, 0, SECONDS))
    own = set(threading.enumerate()) - before
    assert len(own) == 3
    del batcher
    gc.collect()
    for thread in own:
        thread.join(SECONDS)
        assert not thread.is_alive()
