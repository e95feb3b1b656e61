"""A running service, and the middleware and handlers of one without a process around them."""

import asyncio
import functools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from alexnet.inference.classifier import Classifier
from alexnet.paths import ROOT
from benchmarks.harness import Server, serving
from serving.app import Api
from serving.inference.pipeline import Capacity
from serving.logs import AccessLog
from serving.metrics import Metrics
from serving.middleware import enclose
from serving.settings import Settings
from tests.models import write_model

AUDIT = Path(__file__).parent / "audit"
SAMPLES = ROOT / "serving" / "page" / "samples"


class App:
    """Middleware and handlers as an ASGI application, with `seen`, the paths that were let through to BentoML."""

    def __init__(self, classifier: Classifier, settings: Settings, behind: ASGIApp | None) -> None:
        self.metrics = Metrics()
        self.api = Api(classifier, settings, self.metrics, Capacity(2))
        self.routes = dict(self.api.handlers())
        self.seen: list[str] = []
        self._behind = behind or PlainTextResponse("BentoML's own")
        access_log = AccessLog(settings.log_format) if settings.access_log else None
        self.middleware = enclose(self._pass_on, self.routes, settings, self.metrics, access_log)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The answer to one request, as `httpx.Client.request` would give it."""

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.middleware)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, **options)

        return asyncio.run(ask())

    get = functools.partialmethod(request, "GET")
    post = functools.partialmethod(request, "POST")

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append(scope["path"])
        await self._behind(scope, receive, send)

    def count(self, name: str, /, **labels: str) -> float:
        """The current value of a metric."""
        return self.metrics.registry.get_sample_value(name, labels) or 0


def log_lines(server: Server, text: str, seconds: float = 10) -> list[str]:
    """The lines of a service's log that have `text`, as soon as there are any: they are written after the answer."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        lines = [line for line in server.log.read_text().splitlines() if text in line]
        if lines:
            return lines
        time.sleep(0.01)
    raise AssertionError(f"no line of the log has {text!r}")


StartService = Callable[..., AbstractContextManager[Server]]


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
    """`with start_service(ALEXNET_WORKERS="2") as server:` runs `alexnet serve` with these variables, and stops it."""

    def start(prefix: tuple[str, ...] = (), **environment: str) -> AbstractContextManager[Server]:
        paths = [str(AUDIT), *filter(None, [environment.pop("PYTHONPATH", "")])]
        return serving(
            prefix,
            **{
                "ALEXNET_MODEL": str(tiny_model),
                "ALEXNET_SAMPLES": str(SAMPLES),
                "ALEXNET_WORKERS": "1",  # limits are those of a worker
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


@pytest.fixture(scope="session")
def threads_client(service: Server) -> Iterator[httpx.Client]:
    """An HTTP client of `service` for several threads at once, which keeps no connection.

    httpcore may close a kept one that another thread has just begun to use (`has_expired` takes no lock).
    """
    with httpx.Client(base_url=service.url, timeout=30, limits=httpx.Limits(max_keepalive_connections=0)) as client:
        yield client


@pytest.fixture
def make_app(tiny_model: Path) -> Callable[..., App]:
    """`make_app(api_keys="a,b")` is the middleware and handlers with these settings, without a process around them."""

    def make(behind: ASGIApp | None = None, **settings: Any) -> App:
        return App(Classifier(tiny_model, threads=1), Settings(**settings), behind)

    return make
