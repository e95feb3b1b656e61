"""Work that is done beside the caller's: one thing at a time, in order.

In: functions. Out: their effects, later. An exception of one is raised where the next is given, or at the end.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self


class Background:
    """A thread of its own from the first `do` on. As a context, it ends when all is done."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._pending: Future[None] | None = None

    def do(self, work: Callable[[], None]) -> None:
        """Begin `work` when what was given before is done. Raises what that raised."""
        self._wait()
        self._pool = self._pool or ThreadPoolExecutor(1)
        self._pending = self._pool.submit(work)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._wait()
        finally:
            if self._pool:
                self._pool.shutdown()
                self._pool = None

    def _wait(self) -> None:
        pending, self._pending = self._pending, None
        if pending:
            pending.result()
