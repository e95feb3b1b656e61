"""An image, and the service running in it as the Kubernetes manifest runs it.

In: an image's name and the manifest. Out: a container that is ready, and the means to ask it and to stop it.
"""

import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from alexnet.paths import ROOT
from benchmarks.container.engine import LIMITS, Engine

CLIENT = Path(__file__).parent / "ask.py"
IMAGES = ROOT / "tests" / "data" / "cifar10"


@dataclass(frozen=True)
class Image:
    """A built image: its id, its size and its base's in bytes, its labels."""

    id: str
    size: int
    base_size: int
    labels: dict[str, str]


@dataclass(frozen=True)
class Service:
    """A running container of the service."""

    engine: Engine
    image: Image
    id: str
    seconds_to_ready: float

    def client(self, *arguments: str) -> list[str]:
        """The command line, without the engine, of `ask.py` in the service's network; `/images` are the fixtures."""
        mounts = ("-v", f"{CLIENT}:/ask.py:ro", "-v", f"{IMAGES}:/images:ro")
        network = ("--net", f"container:{self.id}")
        return ["run", "--rm", *LIMITS, *network, *mounts, self.image.id, "python", "/ask.py", *arguments]

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.engine("kill", "--signal", "TERM", self.id)
        return int(self.engine("wait", self.id).stdout)

    def remove(self) -> None:
        """End it at once, and forget it."""
        self.engine("kill", self.id, check=False)
        self.engine("rm", "--force", self.id)


def deployment() -> dict[str, Any]:
    """The specification of a pod in deploy/kubernetes/."""
    loaded = yaml.safe_load((ROOT / "deploy/kubernetes/base/deployment.yaml").read_text())
    pod: dict[str, Any] = loaded["spec"]["template"]["spec"]
    return pod


def harden(engine: Engine) -> list[str]:
    """The manifest's limits as options of `run`, no network, and a user that nobody has heard of."""
    limits = deployment()["containers"][0]["resources"]["limits"]
    user = random.randrange(100_000, 1_000_000)
    options = ["--net", "none", "--read-only", "--tmpfs", "/tmp", "--user", f"{user}:{user}"]
    if engine.tool == "podman":
        options.append("--read-only-tmpfs=false")  # without it more places than /tmp can be written
    options += ["--cap-drop", "all", "--security-opt", "no-new-privileges"]
    return [*options, "--cpus", limits["cpu"], "--memory", limits["memory"].removesuffix("i").lower()]


def start(engine: Engine, image: Image, *options: str) -> Service:
    """Run the service and wait until it is ready."""
    started = time.monotonic()
    name = engine.run("--detach", *options, image.id).stdout.strip()
    probe = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3000/readyz')"
    while engine("exec", name, "python", "-c", probe, check=False).returncode != 0:
        if time.monotonic() - started > 60 or engine.inspect(name)["State"]["Status"] != "running":
            logs = engine("logs", name)
            engine("rm", "--force", name)
            raise RuntimeError(f"the service did not become ready:\n{logs.stdout}{logs.stderr}")
    return Service(engine, image, name, time.monotonic() - started)


def memory_bytes(service: Service) -> int:
    """Bytes of the container that cannot be given back: neither cached files nor shared pages."""
    script = "cat /sys/fs/cgroup/memory.stat 2>/dev/null || cat /sys/fs/cgroup/memory/memory.stat"
    lines = service.engine("exec", service.id, "sh", "-c", script).stdout.splitlines()
    values = dict(line.split() for line in lines)
    return int(values.get("anon", values.get("total_rss", 0)))
