"""docker or podman, whichever can run here, as far as the container tests need it.

In: names of images, options and commands. Out: containers, what they print, and what the engine knows about them.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet.paths import ROOT
from deploy.container import NAME, VARIANTS, find_backend

PYTHON_IMAGE = "docker.io/library/python:3.11-slim"
# Debian 12 has Python 3.11. For where no registry of images can be reached.
OWN_PYTHON_IMAGE = "localhost/debian-python:3.11"
SUITE = "bookworm"
PACKAGES = "python3,python3-venv"
# What pip needs to get through the network of this machine, and nothing else of it.
NETWORK_FILES = ("etc/ssl/certs/ca-certificates.crt", "etc/pip.conf")
LEFT_OUT = ("./var/cache/apt/*", "./var/lib/apt/lists/*", "./dev/*", "./proc/*", "./sys/*")


class NotPossible(Exception):  # noqa: N818 -- no error: a reason to skip
    """What is missing on this machine."""


@dataclass(frozen=True)
class Engine:
    """The engine called `tool`."""

    tool: str

    def __call__(self, *arguments: str, check: bool = True, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command of the engine; with `check`, raise when it fails."""
        done = subprocess.run([self.tool, *arguments], capture_output=True, text=True, timeout=seconds)
        if check and done.returncode != 0:
            raise RuntimeError(f"{self.tool} {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
        return done

    def run(self, *arguments: str, check: bool = True, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """`run`, within limits that every machine lets a container set."""
        return self("run", *LIMITS, *arguments, check=check, seconds=seconds)

    def inspect(self, name: str, kind: str = "container") -> dict[str, Any]:
        """What the engine knows about a container or an image."""
        found: list[dict[str, Any]] = json.loads(self(kind, "inspect", name).stdout)
        return found[0]

    def has_image(self, name: str) -> bool:
        """Whether the image is here."""
        return self("image", "inspect", name, check=False).returncode == 0


LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")


def find() -> Engine:
    """The engine of this machine, proven by nothing more than that it answers. Raises `NotPossible`."""
    tool = find_backend()
    if tool is None:
        raise NotPossible("neither docker nor podman can run here")
    return Engine(tool)


def python_image(engine: Engine) -> str:
    """Name of an image with Python 3.11: the usual one where it can be had, else one made of Debian's packages.

    Raises `NotPossible` when neither can be.
    """
    for name in (PYTHON_IMAGE, OWN_PYTHON_IMAGE):
        if engine.has_image(name):
            return name
    if engine("pull", "--quiet", PYTHON_IMAGE, check=False, seconds=300).returncode == 0:
        return PYTHON_IMAGE
    if os.getuid() != 0 or shutil.which("debootstrap") is None:
        raise NotPossible(f"{PYTHON_IMAGE} cannot be pulled, and debootstrap needs to be installed and to run as root")
    with tempfile.TemporaryDirectory() as folder:
        _make_debian(Path(folder))
        _import(engine, Path(folder))
    return OWN_PYTHON_IMAGE


def build(engine: Engine, base: str, store: Path) -> dict[str, Any]:
    """Build the CPU image on `base` as `make container` does, with BentoML's store in `store`; what `inspect` says."""
    command = [sys.executable, "-m", "deploy.container", VARIANTS[0]]
    command += ["--opt", "network=host", "--opt", f"build-arg=PYTHON_IMAGE={base}"]
    # Podman would isolate its build steps with more than a machine that is a container itself may grant.
    environment = {"BENTOML_HOME": str(store), "BUILDAH_ISOLATION": "chroot"}
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
    (version,) = (path.name for path in (store / "bentos" / NAME).iterdir() if path.is_dir())
    return engine.inspect(f"{NAME}:{version}-{VARIANTS[0]}", "image")


def _make_debian(folder: Path) -> None:
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise NotPossible(f"debootstrap fails: {done.stdout.splitlines()[-1:]}")
    for name in NETWORK_FILES:
        if (Path("/") / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path("/") / name, folder / name)


def _import(engine: Engine, folder: Path) -> None:
    pack = ["tar", "-C", str(folder), *(f"--exclude={name}" for name in LEFT_OUT), "-c", "."]
    with subprocess.Popen(pack, stdout=subprocess.PIPE) as packing:
        path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        command = [engine.tool, "import", "--change", path, "-", OWN_PYTHON_IMAGE]
        subprocess.run(command, stdin=packing.stdout, check=True, capture_output=True)
