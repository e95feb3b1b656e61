"""What a number was measured with."""

import platform
from pathlib import Path

import numpy as np
import pytest

from alexnet import environment


def test_the_versions_are_those_of_the_installed_packages() -> None:
    facts = environment.describe("numpy", "no-such-package")
    assert facts["numpy"] == np.__version__
    assert facts["python"] == platform.python_version()
    assert "no-such-package" not in facts


def test_the_kind_of_cpu_is_its_name_as_the_system_gives_it() -> None:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists() or "model name" not in cpuinfo.read_text():
        pytest.skip("this system does not name its CPU in /proc/cpuinfo")
    name = environment.cpu_kind().partition(" (")[0]
    assert f": {name}\n" in cpuinfo.read_text()
    assert ("avx2" in environment.cpu_kind()) == (" avx2 " in cpuinfo.read_text())
