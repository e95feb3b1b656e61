"""The bytes of a connection to its requests: httptools, with the checks and limits of `framing`.

In: what arrives on a connection. Out: each request in its order, as uvicorn's cycles, or `_stop` with the error of the
first that is not valid; then nothing more is parsed.
"""

from abc import abstractmethod
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving import context
from serving.errors import RequestError
from serving.server import framing

_MAX_PIPELINED: Final = 64


class ParsingProtocol(HttpToolsProtocol):
    """The half of a connection that reads; `root_path` is a prefix that a proxy has left before the path."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._counter = framing.Counter()
        self._line = b""  # the start of a request line
        self._blank = False  # an empty line came before it
        self._read = 0  # bytes of this read that belong to the message which begins with it
        self._method: str | None = None  # where it is not the one that the parser sees
        self._in_head = False
        self._in_body = False
        self._resuming = False
        self._stopped = False  # nothing more is parsed

    @abstractmethod
    def _stop(self, error: RequestError) -> None:
        """Parse nothing more, and tell `error`."""

    def _begun(self) -> bool:
        """Whether a part of a request's head has arrived."""
        return self._in_head or bool(self._line)

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

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._counter.add_body(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has arrived."""
        if self.parser.should_upgrade():
            return  # llhttp says so before the body; `_parse` continues with it
        context.set_body_arrived(cast(dict[str, Any], self.scope))
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
        prefix = self.root_path
        if prefix and (text == prefix or text.startswith(prefix + "/")):
            text = text[len(prefix) :] or "/"
        scope["path"], scope["raw_path"], scope["query_string"], scope["root_path"] = text, path, query, prefix
        if self._method is not None:
            scope["method"], self._method = self._method, None
