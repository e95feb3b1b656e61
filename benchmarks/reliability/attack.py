"""Ordinary requests while others attack: are they all answered, how fast, and in how much memory?"""

import asyncio
import collections
import time
from dataclasses import dataclass, field
from typing import Final

import aiohttp
import numpy as np

from benchmarks.harness import Server, serving
from benchmarks.reliability import hostile, mutations
from benchmarks.reliability.memory_limit import limited

LIMIT_BYTES: Final = 512 * 2**20  # of deploy/kubernetes/base/deployment.yaml
WORKERS: Final = 2
_CLIENTS: Final = 4
_PAUSE: Final = 0.1  # between two requests of an ordinary client
_PROBE_PAUSE: Final = 0.2
_SECONDS_FOR_AN_ANSWER: Final = 30
_WARM_UP_SECONDS: Final = 1.0


@dataclass
class Attacked:
    """Ordinary requests during one attack: how many, how many not answered with 200, their latency; peak memory."""

    name: str
    sent: int = 0
    lost: dict[str, int] = field(default_factory=lambda: collections.Counter())
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    probe_max_ms: float = 0.0  # of /readyz
    peak_mb: float = 0.0


@dataclass
class AttackResult:
    """All attacks; `limited` says whether the kernel enforced the memory limit."""

    seconds: float
    workers: int = WORKERS
    limit_bytes: int = LIMIT_BYTES
    limited: bool = False
    attacks: list[Attacked] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def attack(seconds: float, names: list[str]) -> AttackResult:
    """Each attack whose name holds one of `names` (all without) for `seconds`, on a fresh service."""
    result = AttackResult(seconds)
    for kind in hostile.ATTACKS:
        if names and not any(name in kind.name for name in names):
            continue
        found = Attacked(kind.name)
        with limited(LIMIT_BYTES) as limit:
            settings = {"ALEXNET_WORKERS": str(WORKERS), "ALEXNET_ACCESS_LOG": "false"}
            with serving(limit.prefix, **settings) as server:
                with hostile.attacking(kind, server.port, seconds + _WARM_UP_SECONDS):
                    asyncio.run(_measure(server, seconds, found))
                found.peak_mb = round((limit.peak_bytes() or server.memory_mb() * 1e6) / 1e6, 1)
            result.limited = limit.enforced
        result.attacks.append(found)
        if found.lost:
            result.failures.append(f"{kind.name}: {sum(found.lost.values())} of {found.sent} requests lost")
        print(found, flush=True)
    return result


async def _measure(server: Server, seconds: float, found: Attacked) -> None:
    content = (mutations.FIXTURE / "cat" / "00000.png").read_bytes()
    latencies: list[float] = []
    probes: list[float] = []
    await asyncio.sleep(_WARM_UP_SECONDS)
    until = time.monotonic() + seconds

    async def ordinary(session: aiohttp.ClientSession) -> None:
        while time.monotonic() < until:
            found.sent += 1
            started = time.perf_counter()
            try:
                async with session.post(server.url + "/classify", data=content) as answer:
                    await answer.read()
                if answer.status != 200:
                    found.lost[str(answer.status)] += 1
            except (aiohttp.ClientError, TimeoutError) as error:
                found.lost[type(error).__name__] += 1
            latencies.append(time.perf_counter() - started)
            await asyncio.sleep(_PAUSE)

    async def probe(session: aiohttp.ClientSession) -> None:
        while time.monotonic() < until:
            started = time.perf_counter()
            try:
                async with session.get(server.url + "/readyz") as answer:
                    await answer.read()
            except (aiohttp.ClientError, TimeoutError) as error:
                found.lost[f"probe: {type(error).__name__}"] += 1
            probes.append(time.perf_counter() - started)
            await asyncio.sleep(_PROBE_PAUSE)

    timeout = aiohttp.ClientTimeout(total=_SECONDS_FOR_AN_ANSWER)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        await asyncio.gather(probe(session), *(ordinary(session) for _ in range(_CLIENTS)))
    p50, p99 = np.percentile(latencies, (50, 99)) * 1000
    found.p50_ms, found.p99_ms = round(float(p50), 1), round(float(p99), 1)
    found.probe_max_ms = round(1000 * max(probes), 1)
