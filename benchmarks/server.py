"""A real `bentoml serve` as a subprocess, for measurements and tests."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent


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

    `prefix` is a command that runs the service's own, such as `taskset -c 0`. Raises `RuntimeError` with the log when
    it does not become ready within a minute, and when it does not stop.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as home:
        log = Path(home) / "log"
        command = [*prefix, sys.executable, "-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", str(port)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "BENTOML_HOME": home, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is for the measurement, which then stops the service
            )
        server = Server(f"http://127.0.0.1:{port}", port, process, log)
        try:
            _wait_until_ready(server)
            yield server
        finally:
            if process.poll() is None:
                _stop(server)


def kill_tree(pid: int) -> None:
    """SIGKILL for a `bentoml serve` and its workers, which are in sessions of their own and would outlive it."""
    parent = psutil.Process(pid)
    for process in (*parent.children(recursive=True), parent):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _stop(server: Server) -> None:
    try:
        server.stop()
    except subprocess.TimeoutExpired as error:
        kill_tree(server.process.pid)
        raise RuntimeError(f"the service did not stop:\n{server.log.read_text()}") from error


def _wait_until_ready(server: Server, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and server.process.poll() is None:
        try:
            with urllib.request.urlopen(server.url + "/readyz", timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"the service did not become ready:\n{server.log.read_text()}")
