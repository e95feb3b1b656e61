"""Fuzzing: thousands of mutated images and requests against the real service."""

import asyncio
import collections
import json
import random
import socket
import time
from dataclasses import dataclass, field

import aiohttp

from benchmarks.harness import Server, serving
from benchmarks.reliability import mutations

_IN_FLIGHT = 8
_SECONDS_FOR_AN_ANSWER = 30  # an answer that is held back is a failure


@dataclass
class Fuzzed:
    """Requests sent, responses by status and by error code, what went wrong, and MB before and after."""

    requests: int = 0
    statuses: dict[str, int] = field(default_factory=lambda: collections.Counter())
    codes: dict[str, int] = field(default_factory=lambda: collections.Counter())
    failures: list[str] = field(default_factory=list)
    memory_before_mb: float = 0.0
    memory_after_mb: float = 0.0


def fuzz(examples: int, seconds: float, seed: int = 0) -> Fuzzed:
    """Send `examples` requests, eight in flight, for at most `seconds`.

    Every response must be below 500, and every error in the one JSON shape.
    """
    found = Fuzzed()
    with serving(ALEXNET_ACCESS_LOG="false") as server:
        found.memory_before_mb = round(server.memory_mb(), 1)
        asyncio.run(_send_all(server, range(examples), time.monotonic() + seconds, seed, found))
        rng = random.Random(seed)
        for _ in range(max(20, examples // 50)):
            found.requests += 1
            wrong = _send_raw(server, rng)
            if wrong:
                found.failures.append(f"raw bytes: {wrong}")
        found.memory_after_mb = round(server.memory_mb(), 1)
    return found


async def _send_all(server: Server, examples: range, until: float, seed: int, found: Fuzzed) -> None:
    corpus, numbers = mutations.seeds(), iter(examples)

    async def worker(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            if time.monotonic() > until:
                return
            sent = mutations.request(random.Random(f"{seed}/{number}"), corpus)
            wrong = await _send(session, server.url, sent, found)
            if wrong:
                found.failures.append(f"{sent.method} {sent.path} (example {number}): {wrong}")

    timeout = aiohttp.ClientTimeout(total=_SECONDS_FOR_AN_ANSWER)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        await asyncio.gather(*(worker(session) for _ in range(_IN_FLIGHT)))


async def _send(session: aiohttp.ClientSession, url: str, sent: mutations.Sent, found: Fuzzed) -> str | None:
    """What is wrong with the response, or None."""
    options = {"data": sent.data, "headers": sent.headers, "allow_redirects": False}
    try:
        async with session.request(sent.method, url + sent.path, **options) as answer:
            body = await answer.read()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    found.requests += 1
    found.statuses[str(answer.status)] += 1
    if answer.status >= 500:
        return body[:300].decode("utf-8", "replace")
    if answer.status < 400 or sent.method == "HEAD":
        return None
    try:
        told = json.loads(body)["error"]
        found.codes[told["code"]] += 1
        return None if told["message"] and told["request_id"] else "an empty message or request id"
    except (ValueError, KeyError, TypeError):
        return f"not the one error shape: {body[:200]!r}"


def _send_raw(server: Server, rng: random.Random) -> str | None:
    """Send bytes that are hardly HTTP: the connection must be closed, or answered below 500."""
    head = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 5\r\n\r\nabcde"
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        try:
            connection.sendall(mutations.mutate(head, b"\r\n\0: ;=Transfer-Encoding: chunked" * 3, rng))
            connection.shutdown(socket.SHUT_WR)
            first = connection.recv(4096).split(b"\r\n")[0]
        except OSError:
            return None
    status = first.split(b" ")[1:2]
    return f"answered {first!r}" if status and status[0].startswith(b"5") else None
