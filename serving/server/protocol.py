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
from urllib.parse import unquote

import httptools
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from serving.errors import RequestError
from serving.server import framing
from serving.server.deadlines import Deadlines
from serving.server.transport import OnePacketTransport

# The answer to a request that cannot be read, given its ASGI scope when it has got as far as that.
Refuse = Callable[[RequestError, Any], Response]

_LINGER_SECONDS: Final = 2.0
_LAST_CALL_SECONDS: Final = 0.3  # for a request that is on its way through the network when the service stops
_MAX_PIPELINED: Final = 64


@dataclass
class Options:
    """What all connections of a worker share. `draining` is set when the service stops."""

    refuse: Refuse
    receive_seconds: float  # for a request's head, and for a body that nobody reads
    idle_seconds: float  # between requests
    drain_seconds: float  # from the start of the shutdown to the end of a connection
    root_path: str = ""  # a prefix that a proxy has left before the path
    draining: bool = False


class Protocol(HttpToolsProtocol):
    """One connection. `options` are set once, before the first connection."""

    options: ClassVar[Options]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.deadlines = Deadlines()
        self._counter = framing.Counter()
        self._line = b""  # the start of a request line
        self._blank = False  # an empty line came before it
        self._read = 0  # bytes of this read that belong to the message which begins with it
        self._method: str | None = None  # where it is not the one that the parser sees
        self._in_head = False
        self._in_body = False
        self._resuming = False
        self._running: RequestResponseCycle | None = None
        self._stopped = False  # nothing more is parsed
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

    # --- bytes to requests

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived; after an error throw it away."""
        if self._stopped:
            return
        try:
            self._parse(data)
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if not isinstance(cause, RequestError):
                raise
            self._stop(cause)
        except httptools.HttpParserError as error:
            self._stop(framing.malformed(str(error).lower()))
        except RequestError as error:
            self._stop(error)
        self._set_deadlines()

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._resuming:
            return
        super().on_message_begin()
        self._in_head = True
        self._counter.restart(self._read)
        self._read = 0

    def on_url(self, url: bytes) -> None:
        """The target, or a part of it."""
        if not self._resuming:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header. Trailers, which nobody reads, are dropped."""
        if self._in_head:
            self._counter.add_head(len(name) + len(value) + 4)
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request, or queue it behind those before it."""
        if self._resuming:
            return
        self._counter.add_head(len(self.url))
        framing.check_head(self.parser.get_http_version(), self.headers)
        if len(self.pipeline) >= _MAX_PIPELINED:
            raise framing.malformed(f"more than {_MAX_PIPELINED} requests are waiting on one connection")
        path, query = framing.split_target(self.url)
        self.url = b"/"  # super's parser knows the origin form alone
        super().on_headers_complete()
        self._in_head, self._in_body = False, True
        self._fill_scope(path, query)
        if self.options.draining:
            self._close_after(self.cycle)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._counter.add_body(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has arrived."""
        if self.parser.should_upgrade():
            return  # llhttp says so before the body; `_parse` goes on with it
        super().on_message_complete()
        self._in_body = False

    def _parse(self, data: bytes) -> None:
        if not (self._in_head or self._in_body):
            data = self._begin(data)
            self._read = len(data)
        else:
            self._counter.wire += len(data)
        while data:
            try:
                self.parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                self._resume()
        self._counter.check(not self._in_head)

    def _begin(self, data: bytes) -> bytes:
        """The bytes from a request line on; nothing until the line is complete."""
        data = self._line + data
        if not self._blank and data.startswith(b"\r\n"):  # RFC 9112, section 2.2
            data, self._blank = data[2:], True
        end = data.find(b"\n")
        if data and data != b"\r" and data[0] < 0x21:
            raise framing.malformed("it does not begin with a method")
        if (len(data) if end < 0 else end) > framing.MAX_HEAD_BYTES:
            raise framing.too_large()
        if end < 0:
            self._line = data
            return b""
        line, self._method = framing.check_request_line(data[:end])
        self._line, self._blank = b"", False
        return line + data[end:]

    def _resume(self) -> None:
        """Read on after a request that asks for an upgrade or is a CONNECT, which is answered as any other.

        llhttp stops at the end of its head, even when a body follows. So a new parser is told the same framing.
        """
        framed = [(name, value) for name, value in self.headers if name in (b"content-length", b"transfer-encoding")]
        self.parser = httptools.HttpRequestParser(self)
        head = b"".join(name + b": " + value + b"\r\n" for name, value in framed)
        self._resuming = True
        self.parser.feed_data(b"PUT / HTTP/1.1\r\n" + head + b"\r\n")
        self._resuming = False

    def _fill_scope(self, path: bytes, query: bytes) -> None:
        scope = cast(dict[str, Any], self.scope)
        text = path.decode("ascii")
        text = unquote(text) if "%" in text else text
        prefix = self.options.root_path
        if prefix and (text == prefix or text.startswith(prefix + "/")):
            text = text[len(prefix) :] or "/"
        scope["path"], scope["raw_path"], scope["query_string"], scope["root_path"] = text, path, query, prefix
        if self._method is not None:
            scope["method"], self._method = self._method, None

    # --- requests to answers

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Start the next request that has arrived, or wait for one."""
        self.server_state.total_requests += 1
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

    def _begun(self) -> bool:
        """Whether a part of a request's head has arrived."""
        return self._in_head or bool(self._line)

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
