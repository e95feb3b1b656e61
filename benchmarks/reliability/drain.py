"""SIGTERM under load: what is in flight must be answered, and the exit code be 0."""

import asyncio
import base64
import time
from dataclasses import dataclass, field

import aiohttp

from benchmarks.harness import Server, serving
from benchmarks.reliability import mutations

IMAGES = 16  # in each request


@dataclass(frozen=True)
class Round:
    """Responses with 200, the exit code, and the seconds from SIGTERM to the exit."""

    answered: int
    exit_code: int
    seconds: float


@dataclass
class Drained:
    """All rounds, and those that failed."""

    in_flight: int
    rounds: list[Round] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def drain(times: int, in_flight: int) -> Drained:
    """`times` times SIGTERM while `in_flight` requests are being answered."""
    found = Drained(in_flight)
    for number in range(times):
        # On a busy machine so much work takes longer than the time limit; what is measured here is whether any is lost.
        with serving(ALEXNET_ACCESS_LOG="false", ALEXNET_TIME_LIMIT="60") as server:
            done = asyncio.run(_terminate(server, in_flight))
        found.rounds.append(done)
        if (done.answered, done.exit_code) != (in_flight, 0):
            found.failures.append(f"round {number}: {done.answered} answered, exit code {done.exit_code}")
    return found


async def _terminate(server: Server, in_flight: int) -> Round:
    content = base64.b64encode((mutations.FIXTURE / "cat" / "00000.png").read_bytes()).decode()

    async def ask(session: aiohttp.ClientSession) -> int:
        async with session.post(server.url + "/classify_batch", json={"images": [content] * IMAGES}) as answer:
            await answer.read()
            return answer.status

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        requests = [asyncio.create_task(ask(session)) for _ in range(in_flight)]
        await _wait_for_in_progress(session, server, in_flight)
        started = time.monotonic()
        server.process.terminate()
        answers = await asyncio.gather(*requests, return_exceptions=True)
        code = await asyncio.to_thread(server.process.wait, 60)
    return Round(sum(answer == 200 for answer in answers), code, round(time.monotonic() - started, 2))


async def _wait_for_in_progress(session: aiohttp.ClientSession, server: Server, count: int) -> None:
    """Until the service's own metric says that `count` requests are in progress, besides the one that asks."""
    for _ in range(500):
        async with session.get(server.url + "/metrics") as answer:
            for line in (await answer.text()).splitlines():
                if line.startswith("http_server_active_requests") and float(line.rpartition(" ")[2]) > count:
                    return
        await asyncio.sleep(0.01)
    raise RuntimeError(f"the service never had {count} requests in progress")
