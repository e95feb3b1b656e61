"""One worker: a process that answers requests on a socket that it has inherited.

    python -m serving.server.worker --fd 5 --number 1 --folder /tmp/alexnet-1 --supervisor 4711 --sha256 12ff04...

In: a listening socket, the settings in the environment, and the SHA-256 that the model must have. Out: HTTP responses;
exit code 0 after SIGTERM, and `CANNOT_START` with the reason in the file `failure` of the folder.

On SIGTERM it still accepts for a moment, since clients may be connected that it has not seen yet; then it closes
the socket, answers all that has arrived, each answer saying `Connection: close`, and ends, at the latest after
`drain_seconds`. A second SIGTERM ends it at once.
"""

import argparse
import asyncio
import ctypes
import gc
import os
import select
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Final

import uvicorn
from starlette.responses import Response

from alexnet.errors import UserError
from alexnet.inference import cpus
from alexnet.inference.classifier import Classifier
from alexnet.inference.session import installed_runtimes
from serving import context, logs, middleware, settings
from serving.app import Api
from serving.errors import RequestError
from serving.inference.pipeline import Capacity
from serving.limits import worker_count
from serving.metrics import Metrics
from serving.scoreboard import Scoreboard
from serving.server import CANNOT_START, FAILURE, bentoml_routes
from serving.server.deadlines import watch
from serving.server.protocol import Options, Protocol
from serving.settings import Settings

_BEFORE_CLOSING_SECONDS: Final = 0.3  # handshakes that are under way
_TICK_SECONDS: Final = 0.05
_PR_SET_PDEATHSIG: Final = 1


class Server(uvicorn.Server):
    """uvicorn's server with another end: it loses no connection, and it comes."""

    def __init__(self, config: uvicorn.Config, options: Options) -> None:
        super().__init__(config)
        self._options = options
        self._signals: list[int] = []
        self._watching: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, and watch their deadlines."""
        await super().startup(sockets)
        self._watching = asyncio.create_task(watch(self.server_state.connections))  # type: ignore[arg-type]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, answer what has arrived, end what does not end."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._options.drain_seconds + 1
        self._options.draining = True  # connections that are made from now on end themselves
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await asyncio.sleep(_BEFORE_CLOSING_SECONDS)
        for listening in sockets or ():
            while select.select([listening], [], [], 0)[0] and loop.time() < end:
                await asyncio.sleep(0)  # the loop accepts
        for server in self.servers:
            server.close()
        for listening in sockets or ():
            listening.close()
        while (self.server_state.connections or self.server_state.tasks) and not self.force_exit and loop.time() < end:
            await asyncio.sleep(_TICK_SECONDS)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; at the second signal of a kind end at once."""
        self.force_exit = sig in self._signals
        self._signals.append(sig)
        self.should_exit = True


def make(found: Settings, pinned: str, folder: Path) -> Server:
    """A server whose model is warm; `folder` is for what its workers share.

    Raises `UserError`; `pinned` is the SHA-256 that the model must have, or empty.
    """
    usable = cpus.usable_cpus()
    threads = found.threads or usable
    classifier = Classifier(found.model, threads=threads, gpu=found.gpu, concurrent=True, spin=True)
    if pinned and classifier.sha256 != pinned:
        raise UserError(
            f"{found.model}: another file than when the service started (SHA-256 {classifier.sha256[:12]}, not "
            f"{pinned[:12]}); restart the service to take it"
        )
    if len(installed_runtimes()) > 1:
        logs.LOGGER.warning("onnxruntime and onnxruntime-gpu are both installed: the GPU cannot be used")
    metrics = Metrics(folder)
    server: Server

    def in_flight() -> int:
        return len(server.server_state.tasks)

    workers = worker_count(found)
    share, scoreboard = max(1, usable // workers), Scoreboard(folder / "scoreboard", workers)
    api = Api(classifier, found, metrics, Capacity(found.concurrency or usable, in_flight, share, scoreboard))
    access_log = logs.AccessLog(found.log_format) if found.access_log else None
    app = middleware.enclose(bentoml_routes.app(), api.handlers(), found, metrics, access_log)

    def refuse(error: RequestError, scope: Any) -> Response:
        return context.refuse(error, scope, metrics, access_log)

    Protocol.options = Options(
        refuse,
        receive_seconds=found.upload_time_limit,
        idle_seconds=found.keep_alive,
        drain_seconds=found.longest_seconds,
    )
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        root_path=found.root_path,
        proxy_headers=bool(found.trusted_proxies),
        forwarded_allow_ips=list(found.trusted_proxies),
    )
    server = Server(config, Protocol.options)
    return server


def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(prog="serving.server.worker")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--number", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--supervisor", type=int, default=os.getppid())
    parser.add_argument("--sha256", default="")
    given = parser.parse_args()
    _end_with(given.supervisor)
    for name in (signal.SIGINT, signal.SIGTERM):  # before uvicorn takes them, and when it raises them again at its end
        signal.signal(name, _exit)
    try:
        found = settings.load()
        logs.configure(found.log_format)
        server = make(found, given.sha256, given.folder)
    except UserError as error:
        (given.folder / FAILURE).write_text(str(error), encoding="utf-8")
        sys.exit(CANNOT_START)
    gc.freeze()  # a collection that looks at all modules takes tens of milliseconds, in the middle of a request
    listening = socket.socket(fileno=given.fd)
    host, port = listening.getsockname()[:2]
    logs.LOGGER.info(f"worker {given.number} is ready on http://{host}:{port}")
    server.run(sockets=[listening])


def _end_with(supervisor: int) -> None:
    """Have the kernel send SIGTERM when the supervisor is killed: it would leave a service that nobody supervises."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != supervisor:  # it was killed before
        sys.exit(1)


def _exit(*_: Any) -> None:
    os._exit(0)  # without waiting for threads that still decode what nobody waits for


if __name__ == "__main__":
    main()
