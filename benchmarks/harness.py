"""A real `alexnet serve` as a subprocess, for measurements and tests."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from alexnet.paths import ROOT

PORT: Final = "{port}"  # stands for the number of a free port in a command and its environment

_SECONDS_TO_STOP: Final = 30.0
_SECONDS_TO_KILL: Final = 5.0


@dataclass(frozen=True)
class Server:
    """A running service: its address, its process and the file that its output goes to."""

    url: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def memory_mb(self) -> float:
        """Proportional set size of the process and all its children, in MB: shared pages are counted once."""
        parent = psutil.Process(self.process.pid)
        return float(sum(p.memory_full_info().pss for p in (parent, *parent.children(recursive=True))) / 1e6)

    def stop(self, seconds: float = 30) -> int:
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


@contextmanager
def serving(prefix: Sequence[str] = (), **environment: str) -> Iterator[Server]:
    """Start the service on a free port of 127.0.0.1 with more `environment`; wait until it is ready; stop it after.

    `prefix` is a command that runs the service's own, such as `taskset -c 0`. Raises `RuntimeError` as `running` does.
    """
    command = [*prefix, sys.executable, "-m", "alexnet", "serve", "--port", PORT]
    with running(command, is_ready, environment) as server:
        yield server


@contextmanager
def running(
    command: Sequence[str],
    ready: Callable[[str], bool],
    environment: Mapping[str, str],
    seconds: float = 60,
    *,
    must_stop: bool = True,
) -> Iterator[Server]:
    """Run `command`, with the number of a free port for `PORT` in it and its environment; stop it after.

    The environment has the number as the variable PORT as well.

    `ready` is asked with the address until it says so. Raises `RuntimeError` with the log when it does not within
    `seconds`, and when it does not stop, unless it need not: then it is killed.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as home:
        log = Path(home) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(port) if part == PORT else part for part in command],
                cwd=ROOT,
                # Bytecode is kept, as by default: a service that compiles all its imports starts in twice the time.
                env={
                    **os.environ,
                    "PYTHONDONTWRITEBYTECODE": "",
                    "BENTOML_HOME": home,
                    "PORT": str(port),
                    **{name: str(port) if value == PORT else value for name, value in environment.items()},
                },
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is for the measurement, which then stops the service
            )
        server = Server(f"http://127.0.0.1:{port}", port, process, log)
        try:
            _wait_until_ready(server, ready, seconds)
            yield server
        finally:
            if process.poll() is None:
                started = psutil.Process(process.pid).children(recursive=True)
                _stop(server, must_stop)
                kill_all(started)  # LitServe leaves its own behind


def kill_tree(pid: int) -> None:
    """SIGKILL for a service and its workers, which are in sessions of their own and would outlive it."""
    parent = psutil.Process(pid)
    kill_all((*parent.children(recursive=True), parent))


def kill_all(processes: Iterable[psutil.Process]) -> None:
    """SIGKILL for those of them that are still there; psutil knows a process from another that has got its number."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _stop(server: Server, must: bool) -> None:
    try:
        server.stop(_SECONDS_TO_STOP if must else _SECONDS_TO_KILL)
    except subprocess.TimeoutExpired as error:
        kill_tree(server.process.pid)
        if not must:
            return
        raise RuntimeError(f"the service did not stop:\n{server.log.read_text()}") from error


def _wait_until_ready(server: Server, ready: Callable[[str], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and server.process.poll() is None:
        if ready(server.url):
            return
        time.sleep(0.05)
    raise RuntimeError(f"the service did not become ready:\n{server.log.read_text()}")


def is_ready(url: str) -> bool:
    """Whether the service at `url` takes requests."""
    try:
        with urllib.request.urlopen(url + "/readyz", timeout=1):
            return True
    except OSError:
        return False
