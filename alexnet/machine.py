"""The machine, as findings of `alexnet doctor`: nothing here knows our data or models.

In: the interpreter, the operating system, installed packages. Out: findings, each with what to do about it. A
missing package is a finding: torch and ONNX Runtime are imported only when they are looked at.
"""

import importlib.util
import os
import platform
import shutil
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from alexnet import environment
from alexnet.inference.cpus import memory_limit, usable_cpus

Status = Literal["ok", "note", "problem"]

PORT: Final = 3000
# The memory limit of deploy/kubernetes/base/deployment.yaml, and what a run of `alexnet train` leaves on the disk.
_POD_BYTES: Final = 512 * 2**20
_RUN_BYTES: Final = 700 * 10**6
NVIDIA: Final = Path("/proc/driver/nvidia/gpus")
_BOTH: Final = "pip uninstall onnxruntime onnxruntime-gpu, then install one of them: they overwrite each other"


@dataclass(frozen=True)
class Finding:
    """What was found about `subject`, and, unless all is well, the `remedy`.

    A `note` may matter to someone, with a `problem` something of ours does not work.
    """

    subject: str
    status: Status
    found: str
    remedy: str = ""


def look() -> list[Finding]:
    """All findings of this module but those about folders, which need their paths."""
    python = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return [Finding("Python", "ok", python), cpus(), memory(), *runtime(), torch(), port(PORT)]


def cpus() -> Finding:
    """CPUs that may be used, of those of the machine."""
    usable, all_of_them = usable_cpus(), os.cpu_count() or 1
    found = f"{usable} of {all_of_them} usable, {environment.cpu_kind()}"
    if usable < all_of_them:
        return Finding("CPUs", "note", found, "a container's limit or taskset allows no more; raise it to use them all")
    return Finding("CPUs", "ok", found)


def memory() -> Finding:
    """The limit of the control group, or that there is none."""
    limit = memory_limit()
    if limit is None:
        return Finding("memory", "ok", "no limit")
    found = f"limited to {limit / 2**20:,.0f} MiB"
    if limit < _POD_BYTES:
        return Finding("memory", "note", found, f"the service is run with {_POD_BYTES >> 20} MiB; training takes more")
    return Finding("memory", "ok", found)


def runtime() -> list[Finding]:
    """ONNX Runtime: its packages, its version, its providers."""
    try:
        from alexnet.inference.session import installed_runtimes  # before onnxruntime: it turns the telemetry off

        import onnxruntime  # isort: skip

        version, providers = onnxruntime.__version__, onnxruntime.get_available_providers()
    except (ImportError, AttributeError) as error:  # the latter when one of both packages was uninstalled
        return [Finding("ONNX Runtime", "problem", f"cannot be imported: {error}", _BOTH)]
    packages = installed_runtimes()
    found = f"{version}, by {' and '.join(packages)}"
    if len(packages) > 1:
        return [Finding("ONNX Runtime", "problem", found, _BOTH)]
    findings = [Finding("ONNX Runtime", "ok", found)]
    names = ", ".join(name.removesuffix("ExecutionProvider") for name in providers)
    return [*findings, Finding("providers", "ok", names)]


def torch() -> Finding:
    """torch, which only training and export need: its CUDA and whether bf16 is there."""
    if importlib.util.find_spec("torch") is None:
        return Finding("torch", "note", "not installed", "only `train` and `export` need it: make .venv/.dev")
    try:
        import torch

        from training.device import has_bf16
    except (ImportError, OSError) as error:
        return Finding("torch", "problem", f"cannot be imported: {error}", "pip install -r requirements/train.txt")
    gpu = torch.cuda.is_available()
    bf16 = "bf16" if has_bf16(torch.device("cuda" if gpu else "cpu")) else "no bf16"
    if gpu:
        return Finding("torch", "ok", f"{torch.__version__}, {torch.cuda.get_device_name()}, {bf16}")
    found = f"{torch.__version__}, CPU only, {bf16}"
    if NVIDIA.is_dir():
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
        remedy = f"this torch was built with {built}; install one for CUDA, or a newer driver (nvidia-smi tells which)"
        return Finding("torch", "note", found, remedy)
    return Finding("torch", "ok", found)


def port(number: int) -> Finding:
    """Whether the service could listen."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # else one that was closed just now counts
        try:
            listener.bind(("", number))
        except OSError as error:
            remedy = f"the service itself? else stop what listens there, or: alexnet serve --port {number + 1}"
            return Finding(f"port {number}", "note", f"not free: {error.strerror}", remedy)
    return Finding(f"port {number}", "ok", "free")


def scratch() -> Finding:
    """The folder for temporary files, which the service needs."""
    folder = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 -- tempfile would go elsewhere, and so hide the finding
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        remedy = f"make it writable; for a container: --tmpfs {folder}"
        return Finding(folder, "problem", f"cannot be written: {error.strerror}", remedy)
    return Finding(folder, "ok", f"writable, {_free(Path(folder))} free")


def disk(runs: Path) -> Finding:
    """Room for runs in `runs`, or where it would be made."""
    place = next(folder for folder in (runs.absolute(), *runs.absolute().parents) if folder.is_dir())
    found = f"{_free(place)} free"
    remedy = f"a run takes {_RUN_BYTES / 1e9:.1f} GB; give `alexnet train --output` another place"
    if not os.access(place, os.W_OK):
        return Finding(f"{runs}/", "note", f"{found}, but {place} is not writable", remedy)
    if shutil.disk_usage(place).free < _RUN_BYTES:
        return Finding(f"{runs}/", "note", found, remedy)
    return Finding(f"{runs}/", "ok", found)


def _free(place: Path) -> str:
    return f"{shutil.disk_usage(place).free / 1e9:,.1f} GB"
