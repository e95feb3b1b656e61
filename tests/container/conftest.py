"""The image, built as an operator builds it, and the service in it."""

from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.container import engine as engines
from benchmarks.container import service as services
from benchmarks.container.engine import Engine
from benchmarks.container.service import Image, Service

MAX_BODY_BYTES = 100_000


@pytest.fixture(scope="session")
def deployment() -> dict[str, Any]:
    """The specification of a pod in deploy/kubernetes/."""
    return services.deployment()


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
def hardened(engine: Engine) -> list[str]:
    """Options of `run`: the manifest's limits, no network, any user."""
    return services.harden(engine)


@pytest.fixture(scope="module")
def service(engine: Engine, image: Image, hardened: list[str]) -> Iterator[Service]:
    """The service under the manifest's limits, with a body limit that is easily passed."""
    running = services.start(engine, image, *hardened, "-e", f"ALEXNET_MAX_BODY_BYTES={MAX_BODY_BYTES}")
    yield running
    running.remove()
