"""Deadlines of connections, looked at together a few times a second instead of a timer for each request.

In: times of the event loop. Out: `expire` is called on a connection that is late, at most `TICK_SECONDS` after it was.
"""

import asyncio
from collections.abc import Iterable
from typing import Final, Protocol

from serving.logs import LOGGER

TICK_SECONDS: Final = 0.2
_NEVER: Final = float("inf")


class Deadlines:
    """Until when one connection may wait for what. Times are those of `loop.time()`; infinity is no deadline."""

    __slots__ = ("close", "drain", "idle", "receive", "send")

    def __init__(self) -> None:
        self.receive = _NEVER  # the rest of a head, or of a body that nobody reads
        self.send = _NEVER  # the client reads on
        self.idle = _NEVER  # the next request on a kept-alive connection
        self.close = _NEVER  # the end, after the last answer
        self.drain = _NEVER  # the end, whatever is under way: the service stops

    def passed(self, now: float) -> str | None:
        """The name of a deadline that has passed, the final ones first."""
        for name in ("drain", "send", "close", "receive", "idle"):
            if getattr(self, name) <= now:
                return name
        return None

    def clear(self, name: str) -> None:
        """Wait no longer."""
        setattr(self, name, _NEVER)


class Connection(Protocol):
    """What `watch` looks at."""

    deadlines: Deadlines

    def expire(self, name: str) -> None:
        """A deadline has passed. Called again at each tick until it is cleared or the connection is gone."""


async def watch(connections: Iterable[Connection]) -> None:
    """Look at the deadlines of `connections`, a set that changes, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(TICK_SECONDS)
        now = loop.time()
        for connection in list(connections):
            name = connection.deadlines.passed(now)
            if name is not None:
                try:
                    connection.expire(name)
                except Exception:  # a mistake of ours with one connection; the others still have deadlines
                    LOGGER.exception("a connection could not be ended")
