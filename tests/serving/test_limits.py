"""Bounded work: never more at once than configured, never more waiting, and none that outlives its time unseen."""

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from alexnet.errors import UserError
from alexnet.inference import cpus
from serving.errors import RequestError
from serving.limits import MemoryBudget, Pool, memory_budget
from serving.settings import Settings


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


# --- memory

MB = 1_000_000


def test_no_more_bytes_of_bodies_are_held_than_configured_whatever_the_number_of_uploads() -> None:
    memory = MemoryBudget(100 * MB, 10_000)
    with memory.hold() as add, memory.hold() as add_other:
        add(6_000)
        add_other(4_000)
        for adding in (add, add_other):
            with pytest.raises(RequestError) as caught:
                adding(1)
            assert caught.value.code == "overloaded"
        assert memory.held == 10_000
    assert memory.held == 0


def test_images_are_decoded_together_only_while_the_budget_lasts() -> None:
    memory = MemoryBudget(110 * MB, 10 * MB)
    now, most, lock = 0, 0, threading.Lock()

    def work(cost: int) -> None:
        nonlocal now, most
        with memory.decode(cost, time.monotonic() + 30):
            with lock:
                now += cost
                most = max(most, now)
            time.sleep(0.01)
            with lock:
                now -= cost

    threads = [threading.Thread(target=work, args=(cost * MB,)) for cost in (60, 30, 50, 100, 10, 20, 40, 70)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert 60 * MB <= most <= 100 * MB
    assert memory.decoding == 0


def test_an_image_that_can_never_be_decoded_is_refused_at_once() -> None:
    memory = MemoryBudget(100 * MB, 40 * MB)
    started = time.monotonic()
    with (
        pytest.raises(RequestError, match="ALEXNET_DECODE_MEMORY_LIMIT") as caught,
        memory.decode(61 * MB, started + 9),
    ):
        pass
    assert caught.value.code == "too_many_pixels"
    assert time.monotonic() - started < 5


def test_a_large_image_that_waits_is_not_overtaken() -> None:
    memory = MemoryBudget(110 * MB, 10 * MB)
    order: list[int] = []

    def work(cost: int) -> None:
        with memory.decode(cost * MB, time.monotonic() + 30):
            order.append(cost)

    with memory.decode(50 * MB, time.monotonic() + 1):
        threads = []
        for waiting, cost in enumerate((90, 10), start=1):
            threads.append(threading.Thread(target=work, args=(cost,)))
            threads[-1].start()
            while len(memory._waiting) < waiting:
                time.sleep(0.001)
    for thread in threads:
        thread.join(30)
    assert order == [90, 10]


def test_waiting_for_memory_ends_with_the_time_of_the_request_and_leaves_nothing_behind() -> None:
    memory = MemoryBudget(110 * MB, 10 * MB)
    with memory.decode(60 * MB, time.monotonic() + 1):
        with pytest.raises(RequestError) as caught, memory.decode(60 * MB, time.monotonic() + 0.05):
            pass
        assert caught.value.code == "timed_out"
        with memory.decode(40 * MB, time.monotonic() + 1):
            assert memory.decoding == 100 * MB
    assert memory.decoding == 0


@pytest.mark.parametrize(
    ("usable", "workers", "decode", "held"),
    [
        (512 * 1024**2, 1, 245 * MB, 81 * MB),
        (512 * 1024**2, 2, 73 * MB, 24 * MB),
        (16_000 * MB, 2, 384 * MB, 128 * MB),
    ],
)
def test_the_budget_follows_from_the_memory_of_the_container(
    usable: int, workers: int, decode: int, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpus, "usable_memory", lambda: usable)
    memory = memory_budget(Settings(workers=workers))
    assert memory.decode_limit == pytest.approx(decode, abs=MB)
    assert memory.max_held == pytest.approx(held, abs=MB)


def test_settings_come_before_the_memory_of_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "usable_memory", lambda: 64 * MB)
    memory = memory_budget(Settings(decode_memory_limit=200 * MB, max_held_bytes=20 * MB))
    assert (memory.decode_limit, memory.max_held) == (180 * MB, 20 * MB)
    with pytest.raises(UserError, match="ALEXNET_DECODE_MEMORY_LIMIT"):
        memory_budget(Settings())
