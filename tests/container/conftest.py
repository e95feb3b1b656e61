"""The image, built as an operator builds it, and the service, run as the Kubernetes manifest runs it."""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from deploy.container import ROOT
from tests.container import engine as engines
from tests.container.engine import Engine

CLIENT = Path(__file__).parent / "ask.py"
MAX_BODY_BYTES = 100_000
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
        return ["run", "--rm", *engines.LIMITS, *network, *mounts, self.image.id, "python", "/ask.py", *arguments]

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.engine("kill", "--signal", "TERM", self.id)
        return int(self.engine("wait", self.id).stdout)

    def remove(self) -> None:
        """End it at once, and forget it."""
        self.engine("kill", self.id, check=False)
        self.engine("rm", "--force", self.id)


@pytest.fixture(scope="session")
def deployment() -> dict[str, Any]:
    """The specification of a pod in deploy/kubernetes/."""
    loaded = yaml.safe_load((ROOT / "deploy/kubernetes/base/deployment.yaml").read_text())
    pod: dict[str, Any] = loaded["spec"]["template"]["spec"]
    return pod


@pytest.fixture(scope="session")
def engine() -> Engine:
    """docker or podman."""
    try:
        return engines.find()
    except engines.NotPossible as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def image(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The CPU image of this checkout; removed again."""
    try:
        base = engines.python_image(engine)
    except engines.NotPossible as reason:
        pytest.skip(str(reason))
    built = engines.build(engine, base, tmp_path_factory.mktemp("bentoml"))
    base_size = engine.inspect(base, "image")["Size"]
    yield Image(built["Id"], built["Size"], base_size, built["Config"]["Labels"])
    engine("rmi", "--force", built["Id"], check=False)


@pytest.fixture(scope="session")
def hardened(engine: Engine, deployment: dict[str, Any]) -> list[str]:
    """The manifest's limits as options of `run`, and a user that nobody has heard of."""
    limits = deployment["containers"][0]["resources"]["limits"]
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


@pytest.fixture(scope="module")
def service(engine: Engine, image: Image, hardened: list[str]) -> Iterator[Service]:
    """The service under the manifest's limits, with a body limit that is easily passed."""
    running = start(engine, image, *hardened, "-e", f"ALEXNET_MAX_BODY_BYTES={MAX_BODY_BYTES}")
    yield running
    running.remove()
