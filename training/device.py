"""Where training computes: the device, its precision, and the allocator of the CPU.

In: `Settings`. Out: a `torch.device`, whether to use bf16 autocast, and what the hardware calls itself.
"""

import ctypes
import os
from typing import Final

import torch

from alexnet import environment
from alexnet.errors import UserError
from training.settings import Settings

# Parameters of glibc's mallopt, from malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_MAX: Final = -4


def choose(settings: Settings) -> torch.device:
    """The device to train on. Raises `UserError` when a GPU is asked for and there is none."""
    available = torch.cuda.is_available()
    if settings.device == "cuda" and not available:
        raise UserError("--device cuda: torch finds no usable GPU here; give --device cpu, or fix the driver")
    return torch.device("cuda" if available and settings.device != "cpu" else "cpu")


def precision(settings: Settings, device: torch.device) -> str:
    """`bf16` or `fp32`."""
    if settings.precision == "auto":
        return "bf16" if has_bf16(device) else "fp32"
    return settings.precision


def autocast(settings: Settings, device: torch.device) -> torch.autocast:
    """The context of a forward pass."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision(settings, device) == "bf16")


def has_bf16(device: torch.device) -> bool:
    """Whether the hardware is faster in bfloat16 than in float32.

    An Intel CPU needs AMX for that: with avx512_bf16 alone bf16 trains at 0.57 times the speed of fp32. On an AMD CPU
    avx512_bf16 gives 1.7 times (`python -m benchmarks.training`).
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found = torch.cpu.get_capabilities()
    return bool(found.get("amx_bf16") or (found.get("avx512_bf16") and "Intel" not in environment.cpu_kind()))


def describe(device: torch.device) -> dict[str, str]:
    """The name of the GPU and its CUDA version; nothing for a CPU."""
    return {"gpu": torch.cuda.get_device_name(device), "cuda": str(torch.version.cuda)} if device.type == "cuda" else {}


def keep_freed_memory() -> None:
    """Let glibc keep large freed blocks: returning them after every step costs a third of its time in page faults.

    Also asks torch for large pages, where Linux gives them on request. Both must come before the first tensor.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return  # not glibc
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_M_TOP_PAD, 512 * 2**20)
