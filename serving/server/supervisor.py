"""The process that listens, starts the workers and ends them: circus' arbiter, as in BentoML, with another end.

In: an address and the settings. Out: the exit code of the service: 0 after SIGTERM, 1 when no worker can start.

Circus itself opens two TCP ports on which any local user may have it run commands, starts for ever a worker that cannot
start, holds the listening socket while the workers end, so that the kernel accepts connections which nobody will
answer, loses a SIGTERM that comes while it looks after its workers, and ignores a second one. BentoML gives workers a
day to end, and all services of a user one folder for metrics, which each start empties.
"""

import fcntl
import hashlib
import logging
import os
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import deque
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final, TextIO

from circus.arbiter import Arbiter as CircusArbiter
from circus.exc import ConflictError
from circus.sockets import CircusSocket
from circus.watcher import Watcher

from alexnet.errors import UserError
from alexnet.paths import ROOT
from serving.limits import worker_count
from serving.server import CANNOT_START, FAILURE
from serving.server.listening import drop_new_connections, why_not_bound
from serving.settings import Settings

_SOCKET: Final = "http"
_PREFIX: Final = "alexnet-"
_LOCK: Final = "supervisor.lock"
_CHECK_SECONDS: Final = 0.5  # between two looks at the workers
_KILL_SECONDS: Final = 3  # after a worker should have ended by itself
_RETRY_SECONDS: Final = 0.05
# glibc's malloc (mallopt(3)): blocks of a body's size get memory of their own, which is returned when they are freed.
# By itself it raises the threshold to 32 MB and keeps freed blocks, in an area for each thread. Of smaller blocks it
# keeps 8 MB and asks for 4 MB at once: each page that is returned costs a page fault when the next photo needs it.
_MALLOC: Final = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "1048576",
    "MALLOC_TRIM_THRESHOLD_": "8388608",
    "MALLOC_TOP_PAD_": "4194304",
}
_DEATHS: Final = 5  # of workers within `_DEATHS_SECONDS`: starting another does not help
_DEATHS_SECONDS: Final = 30


class Arbiter(CircusArbiter):  # type: ignore[misc]
    """Listens on `host` and `port`, and keeps as many workers running as the settings say."""

    def __init__(self, host: str, port: int, found: Settings, *, backlog: int = 2048) -> None:
        self.exit_stack = ExitStack()  # left when all is over; BentoML's `serve_http` adds to it
        _remove_left_over()
        self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX))  # for the service's user alone
        self.exit_stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
        self.exit_stack.enter_context(_lock(self._folder))
        self._ending = False
        self._failure: str | None = None
        self._deaths: deque[float] = deque(maxlen=_DEATHS)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__(
            [self._watcher(found)],
            # Within this process: commands come from its own signals alone.
            endpoint="inproc://alexnet-commands",
            pubsub_endpoint="inproc://alexnet-events",
            check_delay=_CHECK_SECONDS,
            sockets=[CircusSocket(_SOCKET, host, port, family=family, backlog=backlog)],
        )

    def start(self, cb: Any = None) -> None:
        """Serve until a signal. Exits with one line on standard error when the service cannot start."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
            signal.signal(number, self._on_signal)
        logging.getLogger("circus").addFilter(lambda record: "Could not bind" not in record.getMessage())
        listening = self.sockets[_SOCKET]
        with self.exit_stack:
            error = super().start().exception()
            if isinstance(error, OSError):
                self._failure = why_not_bound(error, listening)
            elif error is not None:
                raise error
        if self._failure is not None:
            print(f"alexnet: {self._failure}", file=sys.stderr)
            sys.exit(1)

    def _watcher(self, found: Settings) -> Watcher:
        arguments = ["-P", "-m", "serving.server.worker", "--fd", f"$(circus.sockets.{_SOCKET})"]
        arguments += ["--number", "$(circus.wid)", "--folder", str(self._folder)]
        arguments += ["--supervisor", str(os.getpid()), "--sha256", _sha256(found.model)]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        return Watcher(
            "worker",
            shlex.quote(sys.executable),
            arguments,
            numprocesses=worker_count(found),
            copy_env=True,
            env={"PYTHONPATH": path, **_MALLOC},
            working_dir=str(Path.cwd()),
            use_sockets=True,
            close_child_stdin=True,
            graceful_timeout=found.longest_seconds + _KILL_SECONDS,
            hooks={"after_reap": (self._after_end, True)},
        )

    def _on_signal(self, number: int, _: Any) -> None:
        self.loop.add_callback_from_signal(self._end)

    def _end(self) -> None:
        """Stop listening in all processes, then have the workers end; at the second call, kill them."""
        if self._ending:
            self._failure = "ended by a second signal; what was in flight is not answered"
            self._kill()
            return
        self._ending = True
        for listening in self.sockets.values():
            drop_new_connections(listening)
        self.sockets.close_all()
        self._stop_when_possible()

    def _stop_when_possible(self) -> None:
        try:
            self.stop()
        except ConflictError:  # it is looking after its workers at the moment
            self.loop.call_later(_RETRY_SECONDS, self._stop_when_possible)

    def _kill(self) -> None:
        for watcher in self.watchers:
            for pid in list(watcher.processes):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _after_end(self, *, exit_code: int, **_: Any) -> bool:
        """A worker has ended that was not asked to."""
        self._deaths.append(time.monotonic())
        storm = len(self._deaths) == _DEATHS and self._deaths[-1] - self._deaths[0] < _DEATHS_SECONDS
        if not self._ending and self._failure is None and (exit_code == CANNOT_START or storm):
            self._failure = f"{len(self._deaths)} workers ended, the last with code {exit_code}; see the log"
            with suppress(FileNotFoundError):
                self._failure = (self._folder / FAILURE).read_text(encoding="utf-8")
            self.loop.add_callback(self._end)
        return True


def serve(host: str, port: int, found: Settings) -> None:
    """Run the service until a signal.

    Exits with code 1 and one line on standard error when it cannot start. Raises `UserError` for a missing model.
    """
    Arbiter(host, port, found).start()


def _lock(folder: Path) -> TextIO:
    """Says that a process uses `folder`: locked until it ends, however it does."""
    unlocked = folder / f".{_LOCK}"  # a name that `_remove_left_over` does not look at
    lock = unlocked.open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    unlocked.rename(folder / _LOCK)
    return lock


def _remove_left_over() -> None:
    """Remove the folders of services of this user that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        with suppress(OSError), path.open("r+") as lock:  # of another user, or in use
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent)


def _sha256(model: Path) -> str:
    """What every worker must find, also one that starts later."""
    try:
        with model.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{model}: {error.strerror}; make a model with `alexnet export RUN`") from error
