"""How many CPUs and bytes of memory this process may use: those of the machine, or fewer in a container."""

import math
import os
from pathlib import Path

CPUS_PER_WORKER = 4
_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1 = Path("/sys/fs/cgroup/cpu")
_MEMORY_FILES = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def usable_cpus() -> int:
    """At least 1; a limit of one and a half CPUs counts as two, since a second thread can use the half."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def usable_memory() -> int:
    """Bytes: the limit of the control group, or half of the machine's memory, which others use as well."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in _MEMORY_FILES:
        try:
            limit = int(file.read_text())  # ValueError: the text "max"
        except (OSError, ValueError):
            continue
        if limit < physical:  # without a limit, version 1 has a number larger than any memory
            return limit
    return physical // 2


def divide(workers: int, gpu: bool) -> tuple[int, int]:
    """How many processes, where `workers` is 0, and how many threads of the model in each.

    Python reads and answers the requests of a process on one CPU, while its model keeps about three more busy; and a
    process has all its CPUs for a single image.
    """
    usable = usable_cpus()
    chosen = workers or (1 if gpu else max(1, usable // CPUS_PER_WORKER))
    return chosen, max(1, usable // chosen)


def _quota() -> float | None:
    """CPUs that the control group grants (https://docs.kernel.org/admin-guide/cgroup-v2.html), or None for no limit."""
    try:
        limit, period = _CGROUP_V2.read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        pass
    try:
        limit_us = int((_CGROUP_V1 / "cpu.cfs_quota_us").read_text())
        period_us = int((_CGROUP_V1 / "cpu.cfs_period_us").read_text())
        return limit_us / period_us if limit_us > 0 else None
    except (OSError, ValueError):
        return None
