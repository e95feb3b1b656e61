"""Counters, gauges and histograms of several processes, in memory that all of them can read.

In: increments and observed values, from any thread. Out: for each metric and label values the numbers of all processes
added up, as metric families of prometheus_client.

prometheus_client's own files for several processes cost more than parsing the HTTP of a small request. Here each
process has a file of float64, mapped into memory, and a file of lines that say which numbers are whose. Both stay when
the process ends, since counters never go down. A lock, which ends with the process, tells the others whether it is
alive: gauges count only then.
"""

import fcntl
import json
import math
import mmap
import operator
import os
import tempfile
import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from prometheus_client.metrics_core import Metric

_NUMBERS: Final = ".numbers"
_NAMES: Final = ".names"
_CAPACITY: Final = 131_072  # numbers in a file, of which the operating system stores the pages that are used
_BYTES: Final = 8

Labels = tuple[str, ...]


@dataclass(frozen=True)
class Definition:
    """A metric: its name as Prometheus has it, without the suffix of its type, what it means, and its labels' names.

    `bounds` are the upper bounds of a histogram's buckets, inclusive, ascending, without infinity. Of several processes
    the numbers are added up, or, of a gauge that is `largest`, the largest counts.
    """

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    documentation: str
    labels: Labels = ()
    bounds: tuple[float, ...] = ()
    largest: bool = False

    @property
    def size(self) -> int:
        """How many numbers it takes for each set of label values: a histogram's buckets, the last infinite, and sum."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1

    def family(self, found: Mapping[Labels, Sequence[float]]) -> Metric:
        """The metric family for the numbers of each set of label values."""
        family = Metric(self.name, self.documentation, self.kind)
        for values, numbers in found.items():
            labels = dict(zip(self.labels, values, strict=True))
            if self.kind != "histogram":
                family.add_sample(self.name + ("_total" if self.kind == "counter" else ""), labels, numbers[0])
                continue
            total = 0.0
            for bound, count in zip((*self.bounds, math.inf), numbers, strict=False):
                total += count
                le = "+Inf" if bound == math.inf else str(bound)
                family.add_sample(f"{self.name}_bucket", {**labels, "le": le}, total)
            family.add_sample(f"{self.name}_count", labels, total)
            family.add_sample(f"{self.name}_sum", labels, numbers[-1])
        return family


class Value:
    """A counter or gauge with its label values."""

    __slots__ = ("_lock", "_numbers")

    def __init__(self, numbers: "memoryview[float]", lock: threading.Lock) -> None:
        self._numbers = numbers
        self._lock = lock

    def inc(self, amount: float = 1) -> None:
        """Add `amount`; of a gauge it may be negative."""
        with self._lock:
            self._numbers[0] += amount

    def set(self, value: float) -> None:
        """Of a gauge."""
        self._numbers[0] = value


class Histogram:
    """A histogram with its label values."""

    __slots__ = ("_bounds", "_lock", "_numbers")

    def __init__(self, numbers: "memoryview[float]", lock: threading.Lock, bounds: tuple[float, ...]) -> None:
        self._numbers = numbers
        self._lock = lock
        self._bounds = bounds

    def observe(self, value: float) -> None:
        """Count a value in its bucket."""
        with self._lock:
            self._numbers[bisect_left(self._bounds, value)] += 1
            self._numbers[-1] += value


class Store:
    """The numbers of this process, and of all others with the same `folder`; without one, of this process alone."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._used = 0
        self._own: dict[tuple[str, Labels], memoryview[float]] = {}
        self._all: memoryview[float]
        if folder is None:
            self._all = memoryview(bytearray(_CAPACITY * _BYTES)).cast("d")
            return
        descriptor, path = tempfile.mkstemp(_NUMBERS, f"{os.getpid()}-", folder)
        self._numbers = os.fdopen(descriptor, "r+b")  # closed, and unlocked, with the process
        fcntl.flock(self._numbers, fcntl.LOCK_EX)
        self._numbers.truncate(_CAPACITY * _BYTES)
        self._all = memoryview(mmap.mmap(descriptor, _CAPACITY * _BYTES)).cast("d")
        self._names = Path(path).with_suffix(_NAMES).open("a", encoding="utf-8")

    def value(self, definition: Definition, labels: Labels = ()) -> Value:
        """The counter or gauge for these label values, from zero on where it is new."""
        return Value(self._find(definition, labels), self._lock)

    def histogram(self, definition: Definition, labels: Labels = ()) -> Histogram:
        """The histogram for these label values, empty where it is new."""
        return Histogram(self._find(definition, labels), self._lock, definition.bounds)

    def collect(self, definitions: Sequence[Definition]) -> Iterator[Metric]:
        """The metric family of each definition, added up over all processes."""
        named = {definition.name: definition for definition in definitions}
        found: dict[str, dict[Labels, list[float]]] = {name: {} for name in named}
        for alive, name, labels, numbers in self._read():
            if alive or named[name].kind != "gauge":
                together = max if named[name].largest else operator.add
                before = found[name].get(labels, [0.0] * len(numbers))
                found[name][labels] = list(map(together, before, numbers))
        for definition in definitions:
            yield definition.family(dict(sorted(found[definition.name].items())))

    def processes(self) -> list[int]:
        """The numbers (PIDs) of the processes that are alive."""
        if self._folder is None:
            return [os.getpid()]
        return [int(path.name.partition("-")[0]) for path in self._folder.glob(f"*{_NUMBERS}") if _is_alive(path)]

    def _find(self, definition: Definition, labels: Labels) -> "memoryview[float]":
        key = (definition.name, labels)
        with self._lock:
            if key not in self._own:
                first, self._used = self._used, self._used + definition.size
                assert self._used <= _CAPACITY
                self._own[key] = self._all[first : self._used]
                if self._folder is not None:
                    self._names.write(json.dumps([*key, first, definition.size]) + "\n")
                    self._names.flush()
            return self._own[key]

    def _read(self) -> Iterator[tuple[bool, str, Labels, Sequence[float]]]:
        """Of each process whether it is alive, and for each metric and label values its numbers."""
        if self._folder is None:
            with self._lock:
                own = [(True, name, labels, numbers.tolist()) for (name, labels), numbers in self._own.items()]
            yield from own
            return
        for path in self._folder.glob(f"*{_NAMES}"):
            of_numbers = path.with_suffix(_NUMBERS)
            alive = _is_alive(of_numbers)
            with of_numbers.open("rb") as file:
                whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")  # a line may just be written
                for line in whole.splitlines():
                    name, labels, first, size = json.loads(line)
                    file.seek(first * _BYTES)
                    yield alive, name, tuple(labels), memoryview(file.read(size * _BYTES)).cast("d").tolist()


def _is_alive(path: Path) -> bool:
    """Whether the process whose numbers are in that file has not ended."""
    with path.open("rb") as file, suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    return True
