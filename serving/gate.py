"""The gate that every request passes on its way in, and every answer on its way out.

In: ASGI requests. Out: our own routes' answers, or what BentoML answers to the rest. Every answer carries a request id,
is counted and logged; every error, BentoML's included, is one JSON object: `{"error": {"code", "message",
"request_id"}}`. Keys are checked here, before a byte of a body is read.
"""

import asyncio
import hmac
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import RequestError
from serving.logs import LOGGER
from serving.metrics import Metrics
from serving.settings import Settings

Handler = Callable[[Request], Awaitable[Response]]
# Path to method to handler.
Routes = Mapping[str, Mapping[str, Handler]]

METRICS: Final = "/metrics"
REQUEST_ID: Final = "x-request-id"
RETRY_SECONDS: Final = 1

# Open also when keys are needed: probes, and pages that hold nothing of anyone's.
_OPEN: Final = frozenset({"/", "/livez", "/healthz", "/readyz", "/docs", "/docs.json", "/schema.json", "/ui"})
_OPEN_FOLDERS: Final = ("/ui/", "/static_content/")
_BENTOML_CODES: Final = {404: "not_found", 405: "method_not_allowed", 503: "unavailable", 504: "timed_out"}
# All that BentoML ever sees. Its router takes "/classify\n" for "/classify" and would lead around our routes to its own
# endpoints, which unpickle bodies and download URLs.
_BENTOML_ROUTES: Final = frozenset({"/livez", "/healthz", "/readyz", "/schema.json"})
_BENTOML_FOLDER: Final = "/static_content/"
_LINGER_SECONDS: Final = 2.0


@dataclass
class _Exchange:
    """One request and what became of it."""

    request_id: str
    route: str
    status: int = 0
    code: str | None = None
    body_ended: bool = False


class Gate:
    """ASGI middleware around BentoML's application.

    `inside` gives the routes and the metrics; it is called per request, since BentoML makes the service's instance
    after its middleware.
    """

    def __init__(self, app: ASGIApp, settings: Settings, inside: Callable[[], tuple[Routes, Metrics]]) -> None:
        self._app = app
        self._inside = inside
        self._keys = [key.get_secret_value().encode() for key in settings.api_keys]
        self._public_metrics = settings.public_metrics
        self._access_log = settings.access_log
        self._cors: ASGIApp | None = None
        if settings.cors_origins:
            self._cors = CORSMiddleware(
                self._guard,
                allow_origins=settings.cors_origins,
                allow_methods=("GET", "POST"),
                allow_headers=("authorization", "content-type", REQUEST_ID),
                expose_headers=(REQUEST_ID, "retry-after"),
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        routes, metrics = self._inside()
        path = scope["path"]
        known = path in routes or path in _BENTOML_ROUTES
        has_body = any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
        exchange = _Exchange(_request_id(scope), path if known else "other", body_ended=not has_body)
        scope["alexnet"] = exchange
        started = time.perf_counter()

        async def watch_in() -> Message:
            message = await receive()
            exchange.body_ended = message["type"] == "http.disconnect" or not message.get("more_body", False)
            return message

        async def watch_out(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = [*message.get("headers", ()), (REQUEST_ID.encode(), exchange.request_id.encode())]
                # Before a byte is sent: who has an answer finds it in the metrics, whichever worker he asks.
                _record(exchange, scope["method"], time.perf_counter() - started, metrics, self._access_log)
            await send(message)

        with metrics.in_progress.track_inprogress():
            if self._cors is None:
                await self._guard(scope, watch_in, watch_out)
            elif await _withhold_error(self._cors, scope, watch_in, watch_out):
                error = RequestError("client_error", "Pages of this origin may not send this request.")
                await _to_response(error, exchange)(scope, watch_in, watch_out)

    async def _guard(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: _Exchange = scope["alexnet"]
        try:
            response = await self._answer(scope, receive, send)
        except RequestError as refused:
            response = _to_response(refused, exchange)
        except Exception:
            LOGGER.exception("internal error", extra={"request_id": exchange.request_id, "route": exchange.route})
            error = RequestError("internal_error", "The service made a mistake; its log has it under the request id.")
            response = _to_response(error, exchange)
        if response is None:
            return
        if exchange.code and not exchange.body_ended:
            send = _lingering(receive, send, exchange)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> Response | None:
        """The response to send, or None when BentoML has sent its own."""
        self._check_key(scope)
        path = scope["path"]
        methods = self._inside()[0].get(path)
        if methods is None:
            if path in _BENTOML_ROUTES or path.startswith(_BENTOML_FOLDER):
                return await self._pass_on(scope, receive, send)
            raise RequestError("not_found", f"There is no route {path[:100]!r}.")
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if method not in methods:
            allowed = ", ".join([*methods, "HEAD"] if "GET" in methods else methods)
            return _not_allowed(f"{path} takes {allowed}, not {method[:20]}.", allowed, scope["alexnet"])
        return await methods[method](Request(scope, receive))

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> Response | None:
        """Let BentoML answer; an error of its own is given our shape. Returns None when its answer was sent."""
        failed = await _withhold_error(self._app, scope, receive, send)
        if failed is None:
            return None
        status = failed["status"]
        code = _BENTOML_CODES.get(status, "client_error" if status < 500 else "internal_error")
        if code == "method_not_allowed":
            allowed = dict(failed["headers"]).get(b"allow", b"").decode()
            return _not_allowed(f"{scope['path']} takes {allowed}.", allowed, scope["alexnet"])
        text = {"not_found": f"There is no route {scope['path'][:100]!r}.", "unavailable": "The service is not ready."}
        return _to_response(RequestError(code, text.get(code, "The request cannot be answered.")), scope["alexnet"])

    def _check_key(self, scope: Scope) -> None:
        path = scope["path"]
        if (
            not self._keys
            or path in _OPEN
            or path.startswith(_OPEN_FOLDERS)
            or (path == METRICS and self._public_metrics)
        ):
            return
        scheme, _, given = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
        # All keys are compared, whichever fits: the time taken tells nothing.
        fits = [hmac.compare_digest(given.strip(), key) for key in self._keys]
        if scheme.lower() != b"bearer" or not any(fits):
            raise RequestError("unauthorized", "Send a valid key: 'Authorization: Bearer KEY'.")


def refuse(error: RequestError, scope: Scope | None, metrics: Metrics, access_log: bool) -> Response:
    """The answer to what `Gate` cannot answer, as it is no valid HTTP; `scope` where a valid head came before it."""
    if scope is not None and "alexnet" in scope:  # the gate has this request, and will count and log it
        exchange = scope["alexnet"]
        response = _to_response(error, exchange)
    else:
        exchange = _Exchange(uuid.uuid4().hex, "other", status=error.status)
        response = _to_response(error, exchange)
        _record(exchange, "other", 0.0, metrics, access_log)
    response.headers[REQUEST_ID] = exchange.request_id
    return response


def _record(exchange: _Exchange, method: str, seconds: float, metrics: Metrics, access_log: bool) -> None:
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


async def _withhold_error(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> Message | None:
    """Let `app` answer; the start of an error that is not ours, and so not of our shape, is returned, not sent."""
    failed: Message | None = None

    async def send_success(message: Message) -> None:
        nonlocal failed
        if message["type"] == "http.response.start" and message["status"] >= 400 and not scope["alexnet"].code:
            failed = message
        if failed is None:
            await send(message)

    await app(scope, receive, send_success)
    return failed


def _not_allowed(message: str, allowed: str, exchange: _Exchange) -> Response:
    response = _to_response(RequestError("method_not_allowed", message), exchange)
    response.headers["allow"] = allowed
    return response


def _to_response(error: RequestError, exchange: _Exchange) -> Response:
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


def _lingering(receive: Receive, send: Send, exchange: _Exchange) -> Send:
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
