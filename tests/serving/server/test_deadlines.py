"""Deadlines: which has passed, and that one connection does not take them from the others."""

import asyncio
import logging

import pytest

from serving.logs import LOGGER
from serving.server import deadlines
from serving.server.deadlines import Deadlines, watch


class Connection:
    """Notes which of its deadlines have passed."""

    def __init__(self, fails: bool = False, **times: float) -> None:
        self.deadlines = Deadlines()
        for name, time in times.items():
            setattr(self.deadlines, name, time)
        self.expired: list[str] = []
        self._fails = fails

    def expire(self, name: str) -> None:
        self.expired.append(name)
        self.deadlines.clear(name)
        if self._fails:
            raise RuntimeError("a mistake")


def test_the_final_ones_come_first_and_without_any_nothing_passes() -> None:
    assert Deadlines().passed(1e12) is None
    found = Connection(idle=1, receive=2, drain=3).deadlines
    assert [found.passed(now) for now in (0.5, 1.5, 2.5, 3.5)] == [None, "idle", "receive", "drain"]


def test_a_connection_that_fails_does_not_take_the_deadlines_from_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(deadlines, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(LOGGER, "propagate", True)

    async def main() -> list[Connection]:
        now = asyncio.get_running_loop().time()
        connections = [Connection(fails=True, idle=now), Connection(idle=now, receive=now + 0.05), Connection()]
        watching = asyncio.create_task(watch(connections))
        await asyncio.sleep(0.2)
        watching.cancel()
        return connections

    with caplog.at_level(logging.ERROR, LOGGER.name):
        found = asyncio.run(main())
    assert [connection.expired for connection in found] == [["idle"], ["idle", "receive"], []]
    assert len(caplog.records) == 1
