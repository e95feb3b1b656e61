"""A memory limit for a command and its children, as a container has it: a control group of Linux.

Where none can be made (no Linux, not root, a container's read-only mount), the command runs without a limit.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")
# Folder of the controller, file of the limit, file of the peak: version 2, then version 1.
# https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
_LAYOUTS: Final = (
    (_ROOT, "memory.max", "memory.peak"),
    (_ROOT / "memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes"),
)
_SECONDS_TO_END: Final = 5.0


@dataclass(frozen=True)
class Limit:
    """`prefix` starts a command within the limit; without a control group it is empty."""

    prefix: Sequence[str] = ()
    peak: Path | None = None

    @property
    def enforced(self) -> bool:
        """Whether the kernel enforces the limit."""
        return self.peak is not None

    def peak_bytes(self) -> int | None:
        """The most bytes at once so far, page cache included; None without a control group."""
        return int(self.peak.read_text()) if self.peak else None


@contextmanager
def limited(size: int) -> Iterator[Limit]:
    """A control group whose processes have `size` bytes of memory together; removed after."""
    for root, limit, peak in _LAYOUTS:
        group = root / f"alexnet-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if not (group / limit).exists():
                continue  # no control group file system, or without the memory controller
            (group / limit).write_text(str(size))
            enter = f'echo $$ > {group}/cgroup.procs && exec "$@"'
            yield Limit(("sh", "-c", enter, "sh"), group / peak)
            return
        finally:
            _remove(group)
    yield Limit()


def _remove(group: Path) -> None:
    """Remove the group once its last process has ended."""
    until = time.monotonic() + _SECONDS_TO_END
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.1)
