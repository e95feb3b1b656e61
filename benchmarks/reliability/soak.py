"""A soak test: many clients for a long time, some of their images broken."""

import asyncio
import collections
import random
import time
from dataclasses import dataclass, field

import aiohttp
import numpy as np

from benchmarks.harness import Server, serving
from benchmarks.reliability import mutations

_BROKEN_SHARE = 0.1
_MEMORY_SAMPLES = 12


@dataclass
class Soaked:
    """Responses by outcome, throughput, latency, and MB of all processes over time."""

    clients: int
    seconds: float
    outcomes: dict[str, int] = field(default_factory=lambda: collections.Counter())
    requests_per_second: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    memory_mb: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def soak(clients: int, seconds: float) -> Soaked:
    """Load from `clients` clients, every tenth image broken; every whole one must be answered with 200."""
    found = Soaked(clients, seconds)
    with serving(ALEXNET_ACCESS_LOG="false") as server:
        latencies = asyncio.run(_load(server, found))
    p50, p99 = np.percentile(latencies, (50, 99)) * 1000
    found.p50_ms, found.p99_ms = round(float(p50), 1), round(float(p99), 1)
    found.requests_per_second = round(len(latencies) / seconds, 1)
    found.failures = [outcome for outcome in found.outcomes if not outcome.endswith("right")]
    return found


async def _load(server: Server, found: Soaked) -> list[float]:
    """Seconds of every response."""
    good = [path.read_bytes() for path in sorted(mutations.FIXTURE.glob("*/*.png"))]
    rng = random.Random(0)
    bad = [mutations.mutate(rng.choice(good)[: rng.randint(1, 900)], good[0], rng) for _ in range(50)]
    latencies: list[float] = []
    until = time.monotonic() + found.seconds

    async def client(session: aiohttp.ClientSession, number: int) -> None:
        own = random.Random(number)
        while time.monotonic() < until:
            broken = own.random() < _BROKEN_SHARE
            started = time.perf_counter()
            async with session.post(server.url + "/classify", data=own.choice(bad if broken else good)) as answer:
                await answer.read()
            latencies.append(time.perf_counter() - started)
            # A mutated image may still be whole: for those, anything below 500 is right.
            right = answer.status < 500 if broken else answer.status == 200
            found.outcomes[f"{'broken' if broken else 'good'} {'right' if right else answer.status}"] += 1

    async def watch() -> None:
        while time.monotonic() < until:
            found.memory_mb.append(round(await asyncio.to_thread(server.memory_mb), 1))
            await asyncio.sleep(found.seconds / _MEMORY_SAMPLES)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(watch(), *(client(session, number) for number in range(found.clients)))
    return latencies
