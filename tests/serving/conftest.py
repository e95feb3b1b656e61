"""A running service, and what it runs with."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

from benchmarks.server import Server, serving
from tests.serving.models import write_model

AUDIT = Path(__file__).parent / "audit"

StartService = Callable[..., AbstractContextManager[Server]]


@pytest.fixture(scope="session")
def tiny_model(session_path: Path) -> Path:
    """An ONNX file with the signature of ours, that answers at once."""
    return write_model(session_path / "tiny.onnx")


@pytest.fixture(scope="session")
def slow_model(session_path: Path) -> Path:
    """The same model, slowed down to about a third of a second for an answer."""
    return write_model(session_path / "slow.onnx", rounds=400)


@pytest.fixture(scope="session")
def connections(session_path: Path) -> Path:
    """The file in which the services of this session note every outgoing connection; it should never come to be."""
    return session_path / "connections"


@pytest.fixture(scope="session")
def start_service(tiny_model: Path, connections: Path) -> StartService:
    """`with start_service(ALEXNET_WORKERS="2") as server:` runs `bentoml serve` with these variables, and stops it."""

    def start(prefix: tuple[str, ...] = (), **environment: str) -> AbstractContextManager[Server]:
        paths = [str(AUDIT), *filter(None, [environment.pop("PYTHONPATH", "")])]
        return serving(
            prefix,
            **{
                "ALEXNET_MODEL": str(tiny_model),
                "ALEXNET_THREADS": "1",
                "PYTHONPATH": os.pathsep.join(paths),
                "AUDIT": str(connections),
                **environment,
            },
        )

    return start


@pytest.fixture(scope="session")
def service(start_service: StartService) -> Iterator[Server]:
    """A service with the default settings and the tiny model, for all tests that need no other."""
    with start_service() as server:
        yield server


@pytest.fixture(scope="session")
def client(service: Server) -> Iterator[httpx.Client]:
    """An HTTP client of `service`."""
    with httpx.Client(base_url=service.url, timeout=30) as client:
        yield client
