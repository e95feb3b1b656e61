"""The context of a request, from its first byte to its log line, and the one shape of every error.

In: an ASGI request, a `RequestError`. Out: `RequestContext` in the ASGI scope, and the response
`{"error": {"code", "message", "request_id"}}` with the headers that belong to it.
"""

import asyncio
import random
import re
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import RequestError
from serving.logs import AccessLog
from serving.metrics import Metrics

REQUEST_ID: Final = "x-request-id"
# Of every JSON answer: it is never taken for anything else, and no cache keeps it.
JSON_HEADERS: Final = {"x-content-type-options": "nosniff", "cache-control": "no-store"}

_JSON_RAW_HEADERS: Final = [
    (name.encode(), value.encode()) for name, value in {"content-type": "application/json", **JSON_HEADERS}.items()
]
_REQUEST_ID: Final = REQUEST_ID.encode()
_PLAIN_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_KEY: Final = "alexnet"  # of an ASGI scope
_BODY_ARRIVED: Final = "alexnet.body_arrived"
# Version, trace, parent, flags; zeros alone are invalid, and later versions may add fields.
_TRACEPARENT: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?"
)
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "OPTIONS"})
_LINGER_SECONDS: Final = 2.0


class JsonBytes(Response):
    """A response of JSON that is encoded already. Starlette's own `__init__` would encode all headers anew for each."""

    def __init__(self, body: bytes) -> None:
        self.status_code = 200
        self.background = None
        self.body = body
        self.raw_headers = [(b"content-length", b"%d" % len(body)), *_JSON_RAW_HEADERS]


@dataclass(slots=True)
class RequestContext:
    """What is known about one request.

    `headers` has the first value of each header, by its name in lower case. `route` takes few values, whatever clients
    send. With `text_errors` an error is a text, as the clients of the Open Inference Protocol want it.
    """

    headers: dict[bytes, bytes]
    request_id: str
    method: str
    route: str
    client: str | None = None
    trace_id: str | None = None
    status: int = 0
    code: str | None = None
    body_received: bool = False
    text_errors: bool = False


def start(scope: Scope, route: str) -> RequestContext:
    """Put the context of a new request into its ASGI scope."""
    headers = dict(reversed(scope["headers"]))
    method, client = scope["method"], scope.get("client")  # by `X-Forwarded-For` where a trusted proxy says it
    scope[_KEY] = context = RequestContext(
        headers,
        _request_id(headers),
        method if method in _METHODS else "other",
        route,
        client[0] if client else None,
        _trace_id(headers),
        body_received=b"content-length" not in headers and b"transfer-encoding" not in headers,
    )
    return context


def has_started(scope: Scope) -> bool:
    """Whether the request already has a context."""
    return _KEY in scope


def get(scope: Scope) -> RequestContext:
    """The context of the request."""
    context: RequestContext = scope[_KEY]
    return context


def set_body_arrived(scope: Scope) -> None:
    """The server has the whole body of the request."""
    scope[_BODY_ARRIVED] = True


def has_body_arrived(scope: Scope) -> bool:
    """Whether the server is known to have the whole body: then receiving it waits for nobody."""
    return _BODY_ARRIVED in scope


def record(context: RequestContext, seconds: float, metrics: Metrics, access_log: AccessLog | None) -> None:
    """Count and log a request whose answer is known."""
    metrics.count_request(context.method, context.route, context.status, seconds)
    if context.code:
        metrics.count_error(context.code)
    if access_log is not None:
        access_log.write(
            {
                "request_id": context.request_id,
                "trace_id": context.trace_id,
                "client": context.client,
                "method": context.method,
                "route": context.route,
                "status": context.status,
                "code": context.code,
                "milliseconds": round(seconds * 1000, 2),
            }
        )


def error_response(error: RequestError, context: RequestContext) -> Response:
    """The response for `error`. The context keeps the code."""
    context.code = error.code
    headers = {**JSON_HEADERS, **error.headers}
    if error.code == "unauthorized":
        headers["www-authenticate"] = "Bearer"
    if error.status in (429, 503):
        headers["retry-after"] = str(error.retry_seconds)
    if not context.body_received:
        headers["connection"] = "close"
    body: dict[str, Any] = {"error": {**error.describe(), "request_id": context.request_id}}
    if context.text_errors:
        body = {"error": f"{error.code}: {error}"}
    return JSONResponse(body, error.status, headers)


def refuse(error: RequestError, scope: Scope | None, metrics: Metrics, access_log: AccessLog | None) -> Response:
    """The response to what is not valid HTTP, and so reaches no middleware; `scope` where a valid head came first."""
    if scope is not None and has_started(scope):  # the middleware has this request, and will count and log it
        context = get(scope)
        response = error_response(error, context)
    else:
        context = RequestContext({}, _new_id(), "other", "other", status=error.status)
        response = error_response(error, context)
        record(context, 0.0, metrics, access_log)
    response.headers[REQUEST_ID] = context.request_id
    return response


async def withhold_error(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> Message | None:
    """Let `app` respond. The start of an error response that is not of our shape is returned instead of sent."""
    withheld: Message | None = None

    async def send_unless_error(message: Message) -> None:
        nonlocal withheld
        if message["type"] == "http.response.start" and message["status"] >= 400 and not get(scope).code:
            withheld = message
        if withheld is None:
            await send(message)

    await app(scope, receive, send_unless_error)
    return withheld


def lingering(receive: Receive, send: Send, context: RequestContext) -> Send:
    """Send the whole answer, then read on for a moment before closing.

    A connection that is closed while the client still sends is reset, and the client may never see the answer
    (RFC 9112, section 9.6). What arrives is thrown away.
    """

    async def send_then_read(message: Message) -> None:
        if message["type"] != "http.response.body":
            await send(message)
            return
        await send({**message, "more_body": True})
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                while not context.body_received:
                    await receive()
        except TimeoutError:
            pass
        await send({"type": "http.response.body", "body": b""})

    return send_then_read


def _trace_id(headers: dict[bytes, bytes]) -> str | None:
    """That of the client's `traceparent` (https://www.w3.org/TR/trace-context/), None where it has no valid one."""
    value = headers.get(b"traceparent")
    found = None if value is None else _TRACEPARENT.fullmatch(value)
    return None if found is None else found[1].decode()


def _request_id(headers: dict[bytes, bytes]) -> str:
    """The client's own id when it is short and plain, else a new one."""
    value = headers.get(_REQUEST_ID)
    return value.decode() if value is not None and _PLAIN_ID.fullmatch(value) else _new_id()


def _new_id() -> str:
    """Of 128 random bits, as a UUID has; the system's own generator takes longer than all else that names a request."""
    return f"{random.getrandbits(128):032x}"
