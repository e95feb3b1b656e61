"""How many CPUs and bytes of memory this process may use: those of the machine, or fewer in a control group.

A limit may stand in the group of the process, as systemd sets it, in one above it, or, in a container, in the outermost
that it sees (https://docs.kernel.org/admin-guide/cgroup-v2.html, and cgroup-v1 beside it).
"""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


def usable_cpus() -> int:
    """At least 1; a limit of one and a half CPUs counts as two, since a second thread can use the half."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(math.ceil(quota) for quota in _quotas())]))


def usable_memory() -> int:
    """Bytes: the least limit of a control group, or half of the machine's memory, which others use as well."""
    limit = memory_limit()
    return _physical_memory() // 2 if limit is None else limit


def memory_limit() -> int | None:
    """The least limit of a control group, in bytes, or None where there is none."""
    limits = []
    for group in _groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):  # the text "max"
                limits.append(int((group / name).read_text()))
    least = min(limits, default=None)
    # Without a limit, version 1 has a number larger than any memory.
    return None if least is None or least >= _physical_memory() else least


def processes() -> int:
    """How many server processes use the CPUs best: on two or three CPUs two, on more one for every two.

    Two on two CPUs were measured to be faster than one; on more CPUs nothing was measured.
    """
    usable = usable_cpus()
    return max(min(usable, 2), usable // 2)


def _quotas() -> Iterator[float]:
    """How many CPUs each control group grants that grants some."""
    for group in _groups("cpu"):
        with suppress(OSError, ValueError):  # the text "max"
            limit, period = map(int, (group / "cpu.max").read_text().split())
            yield limit / period
        with suppress(OSError, ValueError):
            limit = int((group / "cpu.cfs_quota_us").read_text())
            if limit > 0:
                yield limit / int((group / "cpu.cfs_period_us").read_text())


def _groups(controller: str) -> Iterator[Path]:
    """The folders of the control groups that this process is in, of version 2 and of version 1's `controller`."""
    paths = {"": "/", controller: "/"}
    with suppress(OSError):
        for line in _OWN_GROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            paths.update({name: path for name in controllers.split(",") if name in paths})
    for name, path in paths.items():
        root = _GROUPS / name
        # In a container the path may be the host's, where nothing is in here: the outermost folder is always looked at.
        own = root / path.strip("/")
        yield own
        for parent in own.parents:
            if parent.is_relative_to(root):
                yield parent


def _physical_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
