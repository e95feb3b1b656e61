"""One HTTP connection: uvicorn's httptools class with limits, deadlines and a shutdown that loses no request.

In: the bytes of a connection. Out: requests, as calls of the ASGI application. What is not valid HTTP and a request
whose head comes too slowly get an error of our shape; nobody holds a connection by sending or reading too slowly; when
the service stops, requests that are under way are answered first.

uvicorn (0.54) itself answers such input with a line of text, waits for the head of a request for ever, limits neither
heads nor chunks, answers a broken request before an earlier one that is still under way, closes idle connections at
once although a request may be on its way, and waits for ever for a client that does not read.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, cast

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from serving.errors import RequestError
from serving.server.deadlines import Deadlines
from serving.server.parsing import ParsingProtocol
from serving.server.transport import OnePacketTransport

# The answer to a request that cannot be read, given its ASGI scope when it has got as far as that.
Refuse = Callable[[RequestError, Any], Response]

_LINGER_SECONDS: Final = 2.0
_LAST_CALL_SECONDS: Final = 0.3  # for a request that is on its way through the network when the service stops


@dataclass
class Options:
    """What all connections of a worker share. `draining` is set when the service stops."""

    refuse: Refuse
    receive_seconds: float  # for a request's head, and for a body that nobody reads
    idle_seconds: float  # between requests
    drain_seconds: float  # from the start of the shutdown to the end of a connection
    draining: bool = False


class Protocol(ParsingProtocol):
    """One connection. `options` are set once, before the first connection."""

    options: ClassVar[Options]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.deadlines = Deadlines()
        self._running: RequestResponseCycle | None = None
        self._deferred: RequestError | None = None

    # --- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start waiting for a request."""
        super().connection_made(cast(asyncio.Transport, OnePacketTransport(transport)))
        self._set_deadlines()
        if self.options.draining:  # accepted after `shutdown` was called on the others
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is being answered, which need not be the last that has arrived."""
        super().connection_lost(exc)
        if self._running is not None:
            self._running.disconnected = self._running.disconnected or not self._running.response_complete
            self._running.message_event.set()
        self.pipeline.clear()

    def pause_writing(self) -> None:
        """The client does not read as fast as we write: give it a while."""
        super().pause_writing()
        self.deadlines.send = self.loop.time() + self.options.receive_seconds

    def resume_writing(self) -> None:
        """The client reads on."""
        super().resume_writing()
        self.deadlines.clear("send")

    def expire(self, name: str) -> None:
        """End what is late: an answer where one can be given, else only the end of the connection."""
        self.deadlines.clear(name)
        if name in ("drain", "send"):
            self.transport.abort()
        elif name == "receive" and self._begun() and not self._answering():
            seconds = self.options.receive_seconds
            self._stop(RequestError("upload_too_slow", f"The request did not arrive within {seconds:g} seconds."))
        elif name == "receive" or not (self._answering() or self._begun()):
            self.transport.close()

    def shutdown(self) -> None:
        """Answer what is under way and what is on its way, then close."""
        now = self.loop.time()
        self.deadlines.drain = now + self.options.drain_seconds
        self.deadlines.close = now + _LAST_CALL_SECONDS
        if self._answering():
            self._close_after(self.cycle)

    # --- requests and their answers

    def data_received(self, data: bytes) -> None:
        """Take in what has arrived."""
        super().data_received(data)
        if not self._stopped:
            self._set_deadlines()

    def on_headers_complete(self) -> None:
        """Start a request, which is the last when the service stops."""
        super().on_headers_complete()
        if self.options.draining:
            self._close_after(self.cycle)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Start the next request that has arrived, or wait for one."""
        self.server_state.total_requests += 1
        self.transport.write(b"")  # the head of a response to HEAD, which no body follows
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._deferred is not None:
            self._send_error(self._deferred, None)
        elif self.options.draining:
            self.deadlines.close = self.loop.time() + _LAST_CALL_SECONDS
        self._set_deadlines()

    def _answering(self) -> bool:
        return self._running is not None and not self._running.response_complete

    def _set_deadlines(self) -> None:
        """Set or clear the times by which what is awaited must be here."""
        deadlines = self.deadlines
        if self._answering():
            deadlines.receive = deadlines.idle = float("inf")
        elif self._running is None or self._in_body or self._begun():
            deadlines.receive = min(deadlines.receive, self.loop.time() + self.options.receive_seconds)
            deadlines.idle = float("inf")
        else:
            deadlines.receive = float("inf")
            deadlines.idle = self.loop.time() + self.options.idle_seconds

    def _close_after(self, cycle: RequestResponseCycle) -> None:
        """Say in this answer that it is the last, unless its head is sent: then the next one says so."""
        if not cycle.response_started:
            cycle.keep_alive = False

    def _stop(self, error: RequestError) -> None:
        """Parse nothing more, and tell `error` in its turn: after the answers to earlier requests.

        An error in a body whose answer has begun or is given can only be told by closing.
        """
        self._stopped = True
        own = self._in_body and not self.pipeline
        if self._in_body and self.pipeline:
            self.pipeline.popleft()  # the request itself; the earliest is at the right
        if own and (self.cycle.response_started or self.transport.is_closing()):
            self.transport.close()
        elif own or not self._answering():
            self._send_error(error, self.cycle if own else None)
        else:
            self._deferred = error

    def _send_error(self, error: RequestError, cycle: RequestResponseCycle | None) -> None:
        """Answer, say that nothing follows, and read on for a moment: closing at once could destroy the answer."""
        response = type(self).options.refuse(error, cycle.scope if cycle is not None else None)
        headers = [*self.server_state.default_headers, *response.raw_headers]
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        self.transport.write(b"".join([STATUS_LINE[response.status_code], *lines, b"\r\n", bytes(response.body)]))
        if cycle is not None:  # its handler still waits for the body
            cycle.disconnected = True
            cycle.message_event.set()
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.loop.call_later(_LINGER_SECONDS, self.transport.close)
        else:
            self.transport.close()
