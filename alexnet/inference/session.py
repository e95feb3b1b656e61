"""ONNX Runtime sessions, on the CPU or on a GPU. The only import of onnxruntime in this package.

In: the bytes of an ONNX file. Out: a session, or in one line why the GPU that was asked for cannot be used.
"""

import importlib.metadata
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # since 1.29 it would report to Microsoft from the moment of its import

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

Gpu = Literal["never", "prefer", "require"]

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
VERSION: Final[str] = ort.__version__

# A client that has its answer sends the next request in about half of that.
_SPIN_MICROSECONDS: Final = "700"
# As bfc_arena.cc and the C++ standard library write it, and CUDA.
_OUT_OF_MEMORY: Final = ("Failed to allocate memory", "bad_alloc", "out of memory")
_PACKAGES: Final = ("onnxruntime", "onnxruntime-gpu")


def open_session(content: bytes, threads: int, gpu: Gpu = "never", *, spin: bool = False) -> ort.InferenceSession:
    """A session that computes with `threads` on the CPU, or on a GPU where one is wanted and can be used.

    With `spin` the threads stay awake for a moment after a run: one that soon follows starts earlier, and
    whatever else would use the CPUs meanwhile is slower.

    Raises what ONNX Runtime raises on a damaged file: it has a class of its own for each way.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors only: the caller says what is wrong with the file
    options.intra_op_num_threads = threads
    if spin:
        options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN_MICROSECONDS)
    else:  # within a run alone
        options.add_session_config_entry("session.force_spinning_stop", "1")
    if gpu == "never" or CUDA not in ort.get_available_providers():
        return ort.InferenceSession(content, options, providers=[CPU])
    ort.preload_dlls()  # CUDA and cuDNN may be pip's, in folders where nothing else looks
    with _muted(gpu == "require"):
        return ort.InferenceSession(content, options, providers=[CUDA, CPU])


def run(
    session: ort.InferenceSession, outputs: list[str], pixels: npt.NDArray[np.uint8]
) -> list[npt.NDArray[np.float32]]:
    """The named outputs for `pixels`. Raises `MemoryError` when there is none left, as numpy does."""
    try:
        return session.run(outputs, {"pixels": pixels})  # type: ignore[no-any-return]
    except Exception as error:  # of no class of its own: `Fail` from the arena, `RuntimeException` from the allocator
        if any(sign in str(error) for sign in _OUT_OF_MEMORY):
            raise MemoryError(f"the model needs more memory for {len(pixels)} images than there is") from error
        raise


def installed_runtimes() -> list[str]:
    """Which of the two packages of ONNX Runtime are installed. With both, the CPU one silently hides the other."""
    found = []
    for package in _PACKAGES:
        try:
            importlib.metadata.version(package)
            found.append(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def why_no_gpu() -> str:
    """What probably keeps ONNX Runtime from using a GPU here, with the remedy."""
    found = installed_runtimes()
    if len(found) == len(_PACKAGES):
        return (
            "onnxruntime and onnxruntime-gpu are both installed and hide each other; uninstall both, install the latter"
        )
    if "onnxruntime-gpu" not in found:
        return "onnxruntime-gpu is not installed"
    return (
        "CUDA, cuDNN or the driver is missing or too old; `nvidia-smi` tells more, and the log with ALEXNET_GPU=prefer"
    )


@contextmanager
def _muted(wanted: bool) -> Iterator[None]:
    """Without ONNX Runtime's own lines on a GPU that it cannot use, where our one line is about to say so."""
    try:
        if wanted:
            ort.set_default_logger_severity(4)  # fatal
        yield
    finally:
        if wanted:
            ort.set_default_logger_severity(2)  # warnings, its default; the current value cannot be read
