"""What a number was measured with: hardware and versions, for the files that publish numbers. Needs no torch."""

import importlib.metadata
import os
import platform
from pathlib import Path

# The instruction sets that change which kernels torch and ONNX Runtime choose, hence the last digits of a result.
_INSTRUCTION_SETS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")


def cpu_kind() -> str:
    """The CPU's name with the instruction sets that matter here, such as `AMD EPYC (avx2, avx512f)`."""
    name, flags = platform.processor() or platform.machine(), ""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() == "flags":
                flags = value
    except OSError:
        pass  # not Linux: the name alone
    found = [item for item in _INSTRUCTION_SETS if item in flags.split()]
    return f"{name} ({', '.join(found)})" if found else name


def describe(*packages: str) -> dict[str, str | int]:
    """CPU, core count, platform, and the versions of Python and of those of `packages` that are installed."""
    facts: dict[str, str | int] = {
        "cpu": cpu_kind(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    for package in packages:
        try:
            facts[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return facts
