"""Fair scheduling: one step at a time, small ones first, within the memory, and none that was dropped."""

import gc
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from serving.inference.scheduler import Cost, Scheduler, Steps, Task
from serving.limits import MemoryBudget

MB = 1_000_000
SECONDS = 10.0


class Log:
    """What ran, in order; a step may have to wait for `release`."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.ended: dict[str, Exception | None] = {}
        self.release = threading.Event()
        self.started = threading.Event()

    def task(self, name: str, *costs: Cost, blocks: bool = False, fails: bool = False) -> Task:
        def steps() -> Steps:
            for number, cost in enumerate(costs):
                yield cost
                self.ran.append(f"{name}{number}")
                if blocks:
                    self.started.set()
                    self.release.wait(SECONDS)
                if fails:
                    raise ZeroDivisionError

        return Task(steps(), lambda failure: self.ended.update({name: failure}))

    def wait_for(self, *names: str) -> None:
        until(lambda: set(names) <= set(self.ended))


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture
def log() -> Iterator[Log]:
    made = Log()
    yield made
    made.release.set()


def budget(decode: int = 100 * MB) -> MemoryBudget:
    return MemoryBudget(decode + 10 * MB, 10 * MB)


LIGHT = Cost(0, 0.001)


def test_steps_run_one_after_the_other_and_the_end_is_told(log: Log) -> None:
    scheduler = Scheduler(2, budget())
    scheduler.submit(log.task("a", LIGHT, LIGHT, LIGHT))
    scheduler.submit(log.task("bad", LIGHT, LIGHT, fails=True))
    log.wait_for("a", "bad")
    assert [name for name in log.ran if name.startswith("a")] == ["a0", "a1", "a2"]
    assert log.ended["a"] is None
    assert isinstance(log.ended["bad"], ZeroDivisionError)
    assert "bad1" not in log.ran


def test_a_batch_lets_a_single_image_pass_after_at_most_one_step(log: Log) -> None:
    scheduler = Scheduler(1, budget())
    scheduler.submit(log.task("batch", *[Cost(0, 0.05)] * 64, blocks=True))
    assert log.started.wait(SECONDS)  # its first image is being decoded
    scheduler.submit(log.task("single", Cost(0, 0.05)))
    log.release.set()
    log.wait_for("batch", "single")
    assert log.ran.index("single0") <= 2  # behind the image that is running, and the next that is as old
    assert len(log.ran) == 65


def test_small_ones_pass_large_ones_but_not_for_ever(log: Log) -> None:
    scheduler = Scheduler(1, budget())
    scheduler.submit(log.task("block", LIGHT, blocks=True))
    assert log.started.wait(SECONDS)
    scheduler.submit(log.task("large", Cost(0, 0.2)))
    scheduler.submit(log.task("small", LIGHT))
    time.sleep(0.3)
    scheduler.submit(log.task("late", LIGHT))
    log.release.set()
    log.wait_for("block", "large", "small", "late")
    assert log.ran == ["block0", "small0", "large0", "late0"]


def test_a_step_waits_for_its_memory_and_lighter_ones_pass_it(log: Log) -> None:
    memory = budget()
    scheduler = Scheduler(2, memory)
    scheduler.submit(log.task("first", Cost(60 * MB, 0), blocks=True))
    assert log.started.wait(SECONDS)
    scheduler.submit(log.task("second", Cost(60 * MB, 0)))
    scheduler.submit(log.task("light", Cost(10 * MB, 0.01)))
    log.wait_for("light")
    assert log.ran == ["first0", "light0"]
    assert memory.decoding == 60 * MB
    log.release.set()
    log.wait_for("first", "second")
    assert memory.decoding == 0


def test_nothing_passes_a_step_that_has_waited_long_for_memory(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.inference.scheduler._PATIENCE_SECONDS", 0.05)
    scheduler = Scheduler(2, budget())
    scheduler.submit(log.task("first", Cost(60 * MB, 0), blocks=True))
    assert log.started.wait(SECONDS)
    scheduler.submit(log.task("second", Cost(100 * MB, 0)))
    time.sleep(0.1)
    scheduler.submit(log.task("light", Cost(10 * MB, 0.01)))
    time.sleep(0.1)
    assert log.ran == ["first0"]
    log.release.set()
    log.wait_for("first", "second", "light")
    assert log.ran == ["first0", "second0", "light0"]


def test_memory_is_never_exceeded_by_many_tasks_in_many_threads() -> None:
    memory = budget()
    scheduler = Scheduler(4, memory)
    now, most, ended = 0, 0, 0
    lock = threading.Lock()

    def steps(size: int) -> Steps:
        nonlocal now, most
        for _ in range(5):
            yield Cost(size, 0.001)
            with lock:
                now += size
                most = max(most, now)
            time.sleep(0.001)
            with lock:
                now -= size

    def on_end(failure: Exception | None) -> None:
        nonlocal ended
        assert failure is None
        with lock:
            ended += 1

    for number in range(40):
        scheduler.submit(Task(steps((number % 10 + 1) * 10 * MB), on_end))
    until(lambda: ended == 40)
    assert 50 * MB <= most <= 100 * MB
    assert memory.decoding == 0


def test_what_is_cancelled_while_it_waits_never_runs_and_what_runs_ends_after_its_step(log: Log) -> None:
    scheduler = Scheduler(1, budget())
    running, waiting = log.task("running", LIGHT, LIGHT, blocks=True), log.task("waiting", LIGHT)
    scheduler.submit(running)
    assert log.started.wait(SECONDS)
    scheduler.submit(waiting)
    assert scheduler.cancel(waiting)
    assert not scheduler.cancel(waiting)
    assert not scheduler.cancel(running)
    log.release.set()
    log.wait_for("running")
    scheduler.submit(log.task("next", LIGHT))
    log.wait_for("next")
    assert log.ran == ["running0", "next0"]
    assert "waiting" not in log.ended


def test_its_threads_end_with_it() -> None:
    before = set(threading.enumerate())
    scheduler = Scheduler(3, budget())
    own = set(threading.enumerate()) - before
    assert len(own) == 3
    del scheduler
    gc.collect()
    for thread in own:
        thread.join(SECONDS)
        assert not thread.is_alive()
