"""The memory limit under which the service is attacked is one, where the kernel lets us set it."""

import subprocess
import sys

import pytest

from benchmarks.reliability.memory_limit import limited

MIB = 2**20


def allocate(prefix: tuple[str, ...], size: int) -> int:
    """The exit code of a process that writes to `size` bytes."""
    command = [*prefix, sys.executable, "-c", f"bytes({size}).replace(b'\\0', b'1')"]
    return subprocess.run(command, capture_output=True, check=False).returncode


def test_what_needs_more_is_killed_and_the_peak_is_known() -> None:
    with limited(200 * MIB) as limit:
        if not limit.enforced:
            pytest.skip("no control group can be made here")
        prefix = tuple(limit.prefix)
        assert allocate(prefix, 10 * MIB) == 0
        assert 10 * MIB < (limit.peak_bytes() or 0) < 200 * MIB
        assert allocate(prefix, 400 * MIB) == -9
        group = limit.peak
    assert group is not None
    assert not group.parent.exists()
