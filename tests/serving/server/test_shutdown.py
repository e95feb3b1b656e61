"""SIGTERM while clients keep sending, and a second one for those who cannot wait."""

import asyncio
import contextlib
import signal
import threading
import time
from pathlib import Path

import httpx
import psutil
import uvicorn
from starlette.responses import Response

from benchmarks.reliability.shutdown import shut_down
from serving.server.protocol import Options
from serving.server.worker import Server
from tests.images import encode, photo
from tests.models import write_model
from tests.serving.conftest import StartService

IMAGE = encode(photo(), "JPEG")


def test_no_request_is_lost_and_none_is_answered_for_ever(tiny_model: Path) -> None:
    found = shut_down(3, 16, 2, ALEXNET_MODEL=str(tiny_model))
    assert found.failures == []
    assert sum(stop.answered_after for stop in found.rounds) > 0


def test_a_second_sigterm_ends_the_service_at_once(start_service: StartService, tmp_path: Path) -> None:
    model = write_model(tmp_path / "slow.onnx", rounds=8_000)  # three seconds or more
    with start_service(ALEXNET_MODEL=str(model), ALEXNET_TIME_LIMIT="60") as server:
        asked = [threading.Thread(target=_ask, args=(server.url,)) for _ in range(4)]
        for thread in asked:
            thread.start()
        time.sleep(0.5)
        workers = psutil.Process(server.process.pid).children()
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert server.process.poll() is None  # it answers first
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 1
        assert time.monotonic() - started < 2
        assert "second signal" in server.log.read_text().splitlines()[-1]
        assert not any(worker.is_running() for worker in workers)
        for thread in asked:
            thread.join(20)


class _Stuck:
    """A connection that does not end."""

    def __init__(self) -> None:
        self.told = 0

    def shutdown(self) -> None:
        self.told += 1


def test_a_worker_ends_at_its_deadline_whatever_does_not() -> None:
    options = Options(lambda *_: Response(), receive_seconds=9, idle_seconds=9, drain_seconds=0.5)
    server = Server(uvicorn.Config(Response(), log_config=None), options)
    server.servers = []
    stuck = _Stuck()
    server.server_state.connections.add(stuck)  # type: ignore[arg-type]
    started = time.monotonic()
    asyncio.run(server.shutdown())
    assert 1.5 <= time.monotonic() - started < 1.5 + 5
    assert stuck.told == 1
    assert options.draining


def _ask(url: str) -> None:
    with contextlib.suppress(httpx.TransportError):
        httpx.post(url + "/classify", content=IMAGE, timeout=60)
