"""What RFC 9112 asks of a request and llhttp, httptools' parser, lets pass; and what a request's framing may cost.

In: the request line as bytes, parsed headers, counts of bytes. Out: nothing, or `RequestError` with `malformed_request`
or `headers_too_large`.

llhttp (9.x) accepts without complaint: several spaces in the request line, `RTSP/1.0` and `ICE/1.0`, HTTP/0.9 and
HTTP/2.0, a bare LF after a request line of HTTP/0.9 (its issue 877), no `Host` or several, transfer codings besides
`chunked`, and heads and chunk extensions of any size. It refuses methods that it does not know; which methods there
are is for the routes to say.
"""

import re
from collections.abc import Sequence
from typing import Final

from serving.errors import RequestError

MAX_HEAD_BYTES: Final = 32_768
MAX_HEADERS: Final = 100
# Pieces are chunks and reads: a piece costs microseconds whatever its size, so there may be as many small ones as a
# form that is written field by field has, and one for each 64 bytes beyond.
_FREE_PIECES: Final = 2_000
_BYTES_PER_PIECE: Final = 64
_FREE_OVERHEAD: Final = 65_536  # bytes of chunk headers, extensions and trailers

_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) [\x21-\x7e]+ HTTP/1\.[01]\r?")
# Methods that llhttp knows; it treats the framing of all alike.
_KNOWN_METHODS: Final = frozenset(
    {b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"PATCH", b"CONNECT"}
)
_STAND_IN: Final = b"PUT"
_ABSOLUTE: Final = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)


def malformed(reason: str) -> RequestError:
    """The error of a request that is not valid HTTP."""
    return RequestError("malformed_request", f"The request is not valid HTTP: {reason}.")


def too_large() -> RequestError:
    """The error of a head over its limits."""
    return RequestError(
        "headers_too_large", f"The request line and headers may have {MAX_HEAD_BYTES} bytes and {MAX_HEADERS} fields."
    )


def check_request_line(line: bytes) -> tuple[bytes, str | None]:
    """The line, without its LF, as the parser shall see it, and the method when that is another one there."""
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        raise malformed("the request line is METHOD, target and HTTP/1.1, with one space between them")
    method = found[1]
    if method in _KNOWN_METHODS:
        return line, None
    return _STAND_IN + line[len(method) :], method.decode("ascii")


def check_head(version: str, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Check the version and the headers, their names in lower case."""
    if version not in ("1.1", "1.0"):
        raise malformed(f"HTTP/{version} is not spoken here")
    hosts = 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
        elif name == b"transfer-encoding" and (value.strip().lower() != b"chunked" or version == "1.0"):
            raise malformed("the only transfer coding is chunked, from HTTP/1.1 on")
    if hosts > 1 or (not hosts and version == "1.1"):
        raise malformed("there must be one Host header")


def split_target(target: bytes) -> tuple[bytes, bytes]:
    """Path and query of a request target: origin form, absolute form or, as they are, `*` and an authority."""
    if not target.startswith(b"/"):
        absolute = _ABSOLUTE.match(target)
        if absolute is not None:
            target = target[absolute.end() :]
            target = target if target.startswith(b"/") else b"/" + target
    path, _, query = target.partition(b"?")
    return path, query


class Counter:
    """How much of a message has arrived, and in how many pieces."""

    def __init__(self) -> None:
        self.restart(0)

    def restart(self, wire: int) -> None:
        """A message begins, with `wire` bytes of the read that is being parsed."""
        self.head = 0
        self.headers = 0
        self.wire = wire
        self.body = 0
        self.pieces = 0

    def add_head(self, size: int) -> None:
        """A target or a header has been parsed. Raises `RequestError`."""
        self.head += size
        self.headers += 1
        if self.head > MAX_HEAD_BYTES or self.headers > MAX_HEADERS + 1:
            raise too_large()

    def add_body(self, size: int) -> None:
        """A piece of the body has been parsed. Raises `RequestError` when there are too many for their size."""
        self.body += size
        self.pieces += 1
        if self.pieces > _FREE_PIECES + self.body // _BYTES_PER_PIECE:
            raise malformed("the body comes in too many small pieces")

    def check(self, head_complete: bool) -> None:
        """Raise `RequestError` for framing that is too large, after a read has been parsed."""
        if not head_complete and self.wire > MAX_HEAD_BYTES:
            raise too_large()
        if self.wire > MAX_HEAD_BYTES + _FREE_OVERHEAD + 2 * self.body:
            raise malformed("the chunks have more framing than content")
