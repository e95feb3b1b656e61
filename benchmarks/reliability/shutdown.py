"""SIGTERM while clients keep sending: the service ends in time and loses no request.

Half of the clients keep their connections, half open one for each request; each sends its next request at once. A
request is lost when its connection ends without a response. A connection that is refused or not taken up is no loss:
the client knows that nobody has its request.
"""

import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from benchmarks.harness import Server, serving
from benchmarks.reliability import mutations

_LATE_SECONDS: Final = 5.0  # no request takes longer here
_CONNECT_SECONDS: Final = 0.5
_LOAD_SECONDS: Final = 0.5  # before SIGTERM


@dataclass(frozen=True)
class Stop:
    """Requests answered before and after SIGTERM, those that were lost, and the seconds from SIGTERM to the exit."""

    answered: int
    answered_after: int
    lost: int
    exit_code: int
    seconds: float


@dataclass
class Shutdowns:
    """All rounds, and those in which a request was lost or the service was late."""

    clients: int
    workers: int
    rounds: list[Stop] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def shut_down(times: int, clients: int, workers: int, **environment: str) -> Shutdowns:
    """`times` times SIGTERM with `clients` sending to a service of `workers` processes."""
    found = Shutdowns(clients, workers)
    for number in range(times):
        with serving(ALEXNET_ACCESS_LOG="false", ALEXNET_WORKERS=str(workers), **environment) as server:
            stop = _stop_under_load(server, clients)
        found.rounds.append(stop)
        if stop.lost or stop.exit_code or stop.seconds > _LATE_SECONDS:
            found.failures.append(
                f"round {number}: {stop.lost} lost, exit code {stop.exit_code} after {stop.seconds} s"
            )
    return found


def _stop_under_load(server: Server, clients: int) -> Stop:
    counts: Counter[str] = Counter()
    terminated = threading.Event()
    threads = [
        threading.Thread(target=_client, args=(server.port, number % 2 == 0, counts, terminated))
        for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    time.sleep(_LOAD_SECONDS)
    started = time.monotonic()
    terminated.set()
    server.process.terminate()
    code = server.process.wait(60)
    seconds = time.monotonic() - started
    for thread in threads:
        thread.join(30)
    return Stop(counts["before"], counts["after"], counts["lost"], code, round(seconds, 2))


def _client(port: int, keep_alive: bool, counts: "Counter[str]", terminated: threading.Event) -> None:
    body = (mutations.FIXTURE / "cat" / "00000.png").read_bytes()
    request = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: %d\r\n" % len(body)
    request += (b"" if keep_alive else b"Connection: close\r\n") + b"\r\n" + body
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port), timeout=_CONNECT_SECONDS)
        except OSError:
            return
        connection.settimeout(30)
        with connection:
            while True:
                response = _ask(connection, request)
                if response is None:
                    counts["lost"] += 1
                    return
                counts["after" if terminated.is_set() else "before"] += 1
                if b"connection: close" in response.lower():
                    break


def _ask(connection: socket.socket, request: bytes) -> bytes | None:
    """The head of the response; None where the connection ends before the response does."""
    received = b""
    try:
        connection.sendall(request)
        while b"\r\n\r\n" not in received:
            part = connection.recv(65_536)
            if not part:
                return None
            received += part
        head, _, body = received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        while len(body) < length:
            part = connection.recv(65_536)
            if not part:
                return None
            body += part
    except OSError:
        return None
    return head
