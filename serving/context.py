"""One request and what became of it: its id, its count and its log line, and the one shape of every error.

In: an ASGI request, a `RequestError`. Out: `{"error": {"code", "message", "request_id"}}` with the headers that go with
it.
"""

import asyncio
import re
import uuid
from dataclasses import dataclass
from typing import Final

from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from alexnet.errors import RequestError
from serving.logs import LOGGER
from serving.metrics import Metrics

REQUEST_ID: Final = "x-request-id"
RETRY_SECONDS: Final = 1

_KEY: Final = "alexnet"  # of an ASGI scope
_LINGER_SECONDS: Final = 2.0


@dataclass
class Exchange:
    """One request and what became of it."""

    request_id: str
    route: str
    status: int = 0
    code: str | None = None
    body_ended: bool = False


def begin(scope: Scope, route: str) -> Exchange:
    """The exchange that begins with the request `scope`, which remembers it."""
    has_body = any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
    exchange = scope[_KEY] = Exchange(_request_id(scope), route, body_ended=not has_body)
    return exchange


def has_begun(scope: Scope) -> bool:
    """Whether the request `scope` has an exchange."""
    return _KEY in scope


def of(scope: Scope) -> Exchange:
    """The exchange that began with the request `scope`."""
    exchange: Exchange = scope[_KEY]
    return exchange


def record(exchange: Exchange, method: str, seconds: float, metrics: Metrics, access_log: bool) -> None:
    """Count and log an exchange whose answer is known. The labels take few values, whatever clients send."""
    method = method if method in ("GET", "HEAD", "POST", "OPTIONS") else "other"
    metrics.requests.labels(exchange.route, method, exchange.status).inc()
    metrics.request_seconds.labels(exchange.route).observe(seconds)
    if exchange.code:
        metrics.errors.labels(exchange.code).inc()
    if access_log:
        fields = {
            "request_id": exchange.request_id,
            "method": method,
            "route": exchange.route,
            "status": exchange.status,
            "code": exchange.code,
            "milliseconds": round(seconds * 1000, 2),
        }
        LOGGER.info("request", extra=fields)


def to_response(error: RequestError, exchange: Exchange) -> Response:
    """The answer that tells `error`, which the exchange remembers."""
    exchange.code = error.code
    headers = {}
    if error.code == "unauthorized":
        headers["www-authenticate"] = "Bearer"
    if error.status == 503:
        headers["retry-after"] = str(RETRY_SECONDS)
    if not exchange.body_ended:
        headers["connection"] = "close"
    body = {"error": {**error.describe(), "request_id": exchange.request_id}}
    return JSONResponse(body, error.status, headers)


def refuse(error: RequestError, scope: Scope | None, metrics: Metrics, access_log: bool) -> Response:
    """The answer to what no gate can answer, as it is no valid HTTP; `scope` where a valid head came before it."""
    if scope is not None and has_begun(scope):  # the gate has this request, and will count and log it
        exchange = of(scope)
        response = to_response(error, exchange)
    else:
        exchange = Exchange(uuid.uuid4().hex, "other", status=error.status)
        response = to_response(error, exchange)
        record(exchange, "other", 0.0, metrics, access_log)
    response.headers[REQUEST_ID] = exchange.request_id
    return response


def lingering(receive: Receive, send: Send, exchange: Exchange) -> Send:
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
                while not exchange.body_ended:
                    await receive()
        except TimeoutError:
            pass
        await send({"type": "http.response.body", "body": b""})

    return send_then_read


def _request_id(scope: Scope) -> str:
    """The client's own id when it is short and plain, else a new one."""
    for name, value in scope["headers"]:
        if name == REQUEST_ID.encode() and re.fullmatch(rb"[A-Za-z0-9._-]{1,64}", value):
            return str(value.decode())
    return uuid.uuid4().hex
