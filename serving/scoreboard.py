"""What the workers of a service tell each other: how many model runs each has under way.

In: a file that all workers map into memory, and changes of a worker's own numbers. Out: the numbers of the others, as
they are at that moment. They only decide how work is shared; nothing breaks where one is out of date.

A worker owns the first slot that it can lock. The lock ends with the process, however it ends, and so the worker that
takes its place finds the slot, and clears it.
"""

import fcntl
import mmap
import time
from pathlib import Path
from typing import Final

_FIELDS: Final = 2  # runs, and when their number last changed
_BYTES: Final = 8
# After a run a busy worker answers, and its clients ask again. Whoever took its CPU meanwhile would get in its way.
_BUSY_SECONDS: Final = 0.004


class Scoreboard:
    """The numbers of `workers` processes in the file at `path`, which is made if it is not there.

    Raises `OSError` where there are already so many.
    """

    def __init__(self, path: Path, workers: int) -> None:
        self._file = path.open("a+b")  # closed, and unlocked, with the process
        self._file.truncate(size := workers * _FIELDS * _BYTES)
        numbers = memoryview(mmap.mmap(self._file.fileno(), size)).cast("d")
        self._runs, self._changed = (numbers[field::_FIELDS] for field in range(_FIELDS))
        self._slot = self._lock(workers)
        self._others = [slot for slot in range(workers) if slot != self._slot]
        self._runs[self._slot] = self._changed[self._slot] = 0

    def set_runs(self, count: int) -> None:
        """This worker has so many model runs under way."""
        self._runs[self._slot] = count
        self._changed[self._slot] = time.monotonic()

    def runs_elsewhere(self) -> int:
        """The model runs of all other workers; one whose last run has just ended counts as if it had another."""
        recent = time.monotonic() - _BUSY_SECONDS
        return int(sum(self._runs[slot] or self._changed[slot] > recent for slot in self._others))

    def _lock(self, workers: int) -> int:
        for slot in range(workers):
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
            except OSError:
                continue
            return slot
        raise OSError(f"{self._file.name}: all {workers} slots are taken")
