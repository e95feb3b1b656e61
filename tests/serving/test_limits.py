"""Bounded work: never more at once than configured, never more waiting, and none that outlives its time unseen."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from alexnet.errors import RequestError
from serving.limits import Pool


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Work that waits for this event ends at the latest with the test."""
    event = threading.Event()
    yield event
    event.set()


async def code_of(pool: Pool, work: object) -> str | None:
    """The code with which the pool refuses `work`; None when it is done."""
    try:
        await pool.run(work)  # type: ignore[arg-type]
    except RequestError as error:
        return error.code
    return None


def test_results_and_exceptions_come_back() -> None:
    async def main() -> None:
        pool = Pool(1, 1, 5)
        assert await pool.run(lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            await pool.run(lambda: 1 / 0)
        await asyncio.sleep(0)
        assert pool.pending == 0
        pool.close()

    asyncio.run(main())


def test_no_more_at_once_than_configured() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.02)
        with lock:
            running -= 1

    async def main() -> None:
        pool = Pool(3, 30, 5)
        await asyncio.gather(*(pool.run(work) for _ in range(20)))
        pool.close()

    asyncio.run(main())
    assert most == 3


def test_what_finds_the_queue_full_is_told_so_at_once(release: threading.Event) -> None:
    async def main() -> None:
        pool = Pool(2, 3, 5)
        tasks = [asyncio.create_task(code_of(pool, release.wait)) for _ in range(9)]
        await asyncio.sleep(0.05)
        assert [task.done() for task in tasks] == [False] * 5 + [True] * 4
        release.set()
        assert await asyncio.gather(*tasks) == [None] * 5 + ["overloaded"] * 4
        assert await code_of(pool, lambda: None) is None  # and later ones are taken again
        pool.close()

    asyncio.run(main())


def test_work_that_outlives_its_time_keeps_its_place_until_it_ends(release: threading.Event) -> None:
    async def main() -> None:
        pool = Pool(1, 0, 0.05)
        assert await code_of(pool, release.wait) == "timed_out"
        # The client is gone, but the thread still works: its place is not given away.
        assert pool.pending == 1
        assert await code_of(pool, lambda: None) == "overloaded"
        release.set()
        for _ in range(200):
            await asyncio.sleep(0.01)
            if pool.pending == 0:
                break
        assert await code_of(pool, lambda: None) is None
        pool.close()

    asyncio.run(main())


def test_work_whose_time_is_up_while_it_waits_is_never_begun(release: threading.Event) -> None:
    begun = []

    async def main() -> None:
        pool = Pool(1, 5, 0.05)
        tasks = [asyncio.create_task(code_of(pool, release.wait))]
        tasks += [asyncio.create_task(code_of(pool, lambda: begun.append(1))) for _ in range(5)]
        assert await asyncio.gather(*tasks) == ["timed_out"] * 6
        await asyncio.sleep(0.01)
        assert pool.pending == 1  # of the six only the one that was begun
        release.set()
        pool.close()

    asyncio.run(main())
    assert begun == []


def test_a_client_that_goes_away_does_not_free_the_place_of_its_work(release: threading.Event) -> None:
    async def main() -> None:
        pool = Pool(1, 0, 5)
        task = asyncio.create_task(pool.run(release.wait))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.sleep(0.02)
        assert await code_of(pool, lambda: None) == "overloaded"
        release.set()
        pool.close()

    asyncio.run(main())
