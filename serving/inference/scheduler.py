"""Fair scheduling of decoding: a large image or a long batch must not delay the small images of others.

In: tasks, generators that yield the `Cost` of their next step before they do it. Out: their steps, run in threads, one
at a time for each task. Of all tasks that wait, the one whose step is due first is next: it is due when it could have
begun, at the task's arrival or its last step's end, plus the seconds that it should take. So a batch of 64 gets one
image's decoding at a time, and what is large lets pass what is small, but not for ever.

A step begins when its memory is free. Until then smaller steps may pass it, for a while.
"""

import heapq
import itertools
import threading
import time
import weakref
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Final

from serving.limits import MemoryBudget

_PATIENCE_SECONDS: Final = 1.0  # after which nothing passes a step that waits for memory


@dataclass(frozen=True, slots=True)
class Cost:
    """What a step is expected to take: bytes at its peak, and seconds."""

    bytes: int
    seconds: float


Steps = Generator[Cost, None, None]


@dataclass(eq=False, slots=True)
class Task:
    """Steps to run; `on_end` is told once, in a thread, that they have ended, and of the exception that ended them."""

    steps: Steps
    on_end: Callable[[Exception | None], None]
    ready: float = field(default_factory=time.monotonic)  # when its next step could begin
    cost: Cost | None = None  # of its next step, once that has been announced
    cancelled: bool = False


@dataclass(order=True, slots=True)
class _Entry:
    due: float
    number: int
    task: Task = field(compare=False)


class Scheduler:
    """Runs tasks in `threads` threads within the decoding memory of `memory`."""

    def __init__(self, threads: int, memory: MemoryBudget) -> None:
        self._memory = memory
        self._heap: list[_Entry] = []
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._starved = 0  # threads that found only steps for which there was no memory
        self._wake: SimpleQueue[bool] = SimpleQueue()  # one for each entry of the heap
        for number in range(threads):
            arguments = (self._wake, weakref.ref(self))
            threading.Thread(target=_work, args=arguments, name=f"decode-{number}", daemon=True).start()
            weakref.finalize(self, self._wake.put, False)

    def submit(self, task: Task) -> None:
        """Run the steps of `task`, beginning with what comes before its first `Cost`."""
        with self._lock:
            self._push(task)

    def cancel(self, task: Task) -> bool:
        """Drop a task. True where it is dropped now, and `on_end` not told; a running step continues to its end."""
        with self._lock:
            task.cancelled = True
            waiting = [entry for entry in self._heap if entry.task is not task]
            dropped = len(waiting) < len(self._heap)
            if dropped:
                self._heap = waiting
                heapq.heapify(waiting)
        if dropped:
            task.steps.close()
        return dropped

    def work(self) -> None:
        """Run the step that is next, if there is one and memory for it."""
        with self._lock:
            task = self._pop()
        if task is None:
            return
        failure: Exception | None = None
        cost = task.cost
        try:
            announced = next(task.steps, None)
        except Exception as error:
            announced, failure = None, error
        with self._lock:
            if cost is not None:
                self._memory.release(cost.bytes)
                task.ready = time.monotonic()
            for _ in range(self._starved):
                self._wake.put(True)
            self._starved = 0
            ended = announced is None or task.cancelled
            if announced is not None and not ended:
                task.cost = announced
                self._push(task)
        if ended:
            task.steps.close()
            task.on_end(failure)

    def _push(self, task: Task) -> None:
        due = task.ready + (task.cost.seconds if task.cost else 0.0)
        heapq.heappush(self._heap, _Entry(due, next(self._numbers), task))
        self._wake.put(True)

    def _pop(self) -> Task | None:
        """The task that is next, with the memory for its step."""
        passed: list[_Entry] = []
        found: Task | None = None
        impatient = time.monotonic() - _PATIENCE_SECONDS
        while self._heap and found is None:
            entry = heapq.heappop(self._heap)
            if entry.task.cost is None or self._memory.acquire(entry.task.cost.bytes):
                found = entry.task
            else:
                passed.append(entry)
                if entry.task.ready < impatient:
                    break
        for entry in passed:
            heapq.heappush(self._heap, entry)
        if found is None and passed:
            self._starved += 1
        return found


def _work(wake: "SimpleQueue[bool]", reference: "weakref.ref[Scheduler]") -> None:
    """Until its `Scheduler` is gone: the thread must not be what keeps it."""
    while wake.get():
        scheduler = reference()
        if scheduler is not None:
            scheduler.work()
        del scheduler
