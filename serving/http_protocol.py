"""uvicorn's HTTP protocol with our manners.

In: the bytes of a connection. Out: requests, for the gate. What is no valid HTTP gets an error of our shape, as does a
request whose head comes too slowly; nobody holds a connection by sending or reading too slowly; and when the service
stops, requests that are under way are answered first, within a set time.

Requests go to the gate at once, not through BentoML's middleware first: spans of OpenTelemetry that nobody collects and
three layers that only hand on were a third of the time that our code takes for a request.

uvicorn (0.54) itself answers such input with a line of text, waits for the head of a request for ever, closes idle
connections at once although a request may be on its way, and waits for ever for a client that does not read.
"""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar, Final

import h11
from starlette.responses import Response
from starlette.types import ASGIApp
from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from serving.errors import RequestError

# The answer to a request that cannot be read, given its ASGI scope when it has got as far as that.
Refuse = Callable[[RequestError, Any], Response]

_HEAD: Final = b"HTTP/1.1 "
_INTERIM: Final = b"HTTP/1.1 1"
_LINGER_SECONDS: Final = 2.0
_LAST_CALL_SECONDS: Final = 0.3  # on its way through the network at the moment of SIGTERM


class _Corked:
    """A transport that sends the head of an answer together with what follows it, in one packet instead of two.

    uvicorn writes the head, then the body, and writes at least nothing at an answer's end.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send, unless it is a head; the 100 of "go on" is an answer of its own."""
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(_HEAD) and not data.startswith(_INTERIM):
            self._head = data
            return
        if data:
            self._transport.write(data)

    def write_eof(self) -> None:
        """Send what is held, then the end."""
        self.write(b"")
        self._transport.write_eof()

    def close(self) -> None:
        """Send what is held, then close."""
        self.write(b"")
        self._transport.close()


class Protocol(H11Protocol):
    """One connection. `arrival_seconds` are for each request's head, `drain_seconds` for the end of the service."""

    arrival_seconds: ClassVar[float]
    drain_seconds: ClassVar[float]
    refuse: ClassVar[Refuse]
    enclose: ClassVar[Callable[[ASGIApp], ASGIApp]]
    requests: ClassVar[set[asyncio.Task[None]]] = set()  # uvicorn's own, one for all connections

    _late: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None
    _leaving = False
    _refused = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        type(self).requests = self.tasks
        self.app = type(self).enclose(self.app)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start waiting for a request."""
        super().connection_made(_Corked(transport))  # type: ignore[arg-type]
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        for timer in (self._late, self._stalled):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in a part of a request; after a refusal throw it away."""
        if not self._refused:
            super().data_received(data)

    def handle_events(self) -> None:
        """Start the requests that have arrived."""
        super().handle_events()
        if self._leaving and self._answering():
            self._answer_last()
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of this one's body, which nobody reads."""
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """The client does not read as fast as we write: give it a while."""
        super().pause_writing()
        self._stalled = self.loop.call_later(self.arrival_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has read on."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def shutdown(self) -> None:
        """Answer what is under way, then close."""
        self._leaving = True
        self.loop.call_later(self.drain_seconds, self.transport.abort)
        if self._answering():
            self._answer_last()
        else:
            self.loop.call_later(_LAST_CALL_SECONDS, self._last_call)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no valid HTTP; where an answer has begun already, there is only closing."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._send_error(RequestError("malformed_request", "The request is no valid HTTP."))
        else:
            self.transport.close()

    def _should_upgrade(self) -> bool:
        return False  # there are no WebSockets here: the request is answered as plain HTTP

    def _answer_last(self) -> None:
        """Close the connection after this answer, and say so in it, lest the client sends another request."""
        self.cycle.keep_alive = False
        if not self.cycle.response_started:
            self.cycle.scope["headers"] = [*self.cycle.scope["headers"], CLOSE_HEADER]  # uvicorn answers it in kind

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _begun(self) -> bool:
        """Whether a part of a request's head has arrived."""
        return self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])

    def _watch(self) -> None:
        """Set or clear the time by which what is awaited must be here. An idle kept-alive connection is uvicorn's."""
        fresh = self.cycle is None and self.conn.their_state is h11.IDLE
        awaited = fresh or self._begun() or self.conn.their_state is h11.SEND_BODY
        if awaited and not self._answering():
            if self._late is None:
                self._late = self.loop.call_later(self.arrival_seconds, self._too_late)
        elif self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        if self._begun() and self.conn.our_state is h11.IDLE:
            self._send_error(
                RequestError("upload_too_slow", f"The request did not arrive within {self.arrival_seconds:g} seconds.")
            )
        else:
            self.transport.close()

    def _last_call(self) -> None:
        if not self._answering() and not self._begun():
            self.transport.close()

    def _send_error(self, error: RequestError) -> None:
        """Answer, say that nothing follows, and read on for a moment: closing at once could destroy the answer."""
        self._refused = True
        answering = self._answering()
        response = type(self).refuse(error, self.scope if answering else None)
        head = h11.Response(
            status_code=response.status_code,
            headers=[*self.server_state.default_headers, *response.raw_headers],
            reason=STATUS_PHRASES[response.status_code],
        )
        for event in (head, h11.Data(data=bytes(response.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        if answering:  # its handler still waits for the body
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.loop.call_later(_LINGER_SECONDS, self.transport.close)
        else:
            self.transport.close()


def in_hand() -> int:
    """How many requests have arrived, their head at least, and are not answered."""
    return len(Protocol.requests)


def install(
    arrival_seconds: float, drain_seconds: float, refuse: Refuse, enclose: Callable[[ASGIApp], ASGIApp]
) -> None:
    """Let every uvicorn server of this process use `Protocol`, with these times and answers.

    `enclose` is given the server's application and returns the one that gets the requests, the same each time.
    """
    Protocol.arrival_seconds = arrival_seconds
    Protocol.drain_seconds = drain_seconds
    Protocol.refuse = staticmethod(refuse)
    Protocol.enclose = staticmethod(enclose)
    HTTP_PROTOCOLS["auto"] = f"{__name__}:{Protocol.__name__}"
