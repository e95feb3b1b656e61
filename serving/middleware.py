"""The gate that every request passes on its way in, and every answer on its way out.

In: ASGI requests. Out: our own routes' answers, or what BentoML answers to the rest. Every answer carries a request id,
is counted and logged; every error, BentoML's included, is one JSON object: `{"error": {"code", "message",
"request_id"}}`. Keys are checked here, before a byte of a body is read.
"""

import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alexnet.errors import RequestError
from serving.context import REQUEST_ID, Exchange, begin, has_begun, lingering, of, record, to_response
from serving.logs import LOGGER
from serving.metrics import Metrics
from serving.settings import Settings

Handler = Callable[[Request], Awaitable[Response]]
# Path to method to handler.
Routes = Mapping[str, Mapping[str, Handler]]

METRICS: Final = "/metrics"

# Open also when keys are needed: probes, and pages that hold nothing of anyone's.
_OPEN: Final = frozenset({"/", "/livez", "/healthz", "/readyz", "/docs", "/docs.json", "/schema.json", "/ui"})
_OPEN_FOLDERS: Final = ("/ui/", "/static_content/")
_BENTOML_CODES: Final = {404: "not_found", 405: "method_not_allowed", 503: "unavailable", 504: "timed_out"}
# All that BentoML ever sees. Its router takes "/classify\n" for "/classify" and would lead around our routes to its own
# endpoints, which unpickle bodies and download URLs.
_BENTOML_ROUTES: Final = frozenset({"/livez", "/healthz", "/schema.json"})
_BENTOML_FOLDER: Final = "/static_content/"


class Gate:
    """ASGI middleware around BentoML's application. What has passed one gate passes every other.

    `inside` gives the routes and the metrics; it is called per request, since BentoML makes the service's instance
    after its middleware.
    """

    def __init__(self, app: ASGIApp, settings: Settings, inside: Callable[[], tuple[Routes, Metrics]]) -> None:
        self._app = app
        self._inside = inside
        self._keys = [_digest(key.get_secret_value().encode()) for key in settings.api_keys]
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
        if scope["type"] != "http" or has_begun(scope):
            await self._app(scope, receive, send)
            return
        routes, metrics = self._inside()
        path = scope["path"]
        known = path in routes or path in _BENTOML_ROUTES
        exchange = begin(scope, path if known else "other")
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
                record(exchange, scope["method"], time.perf_counter() - started, metrics, self._access_log)
            await send(message)

        with metrics.in_progress.track_inprogress():
            if self._cors is None:
                await self._guard(scope, watch_in, watch_out)
            elif await _withhold_error(self._cors, scope, watch_in, watch_out):
                error = RequestError("client_error", "Pages of this origin may not send this request.")
                await to_response(error, exchange)(scope, watch_in, watch_out)

    async def _guard(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = of(scope)
        try:
            response = await self._answer(scope, receive, send)
        except RequestError as refused:
            response = to_response(refused, exchange)
        except Exception:
            LOGGER.exception("internal error", extra={"request_id": exchange.request_id, "route": exchange.route})
            error = RequestError("internal_error", "The service made a mistake; its log has it under the request id.")
            response = to_response(error, exchange)
        if response is None:
            return
        if exchange.code and not exchange.body_ended:
            send = lingering(receive, send, exchange)
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
            return _not_allowed(f"{path} takes {allowed}, not {method[:20]}.", allowed, of(scope))
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
            return _not_allowed(f"{scope['path']} takes {allowed}.", allowed, of(scope))
        text = {"not_found": f"There is no route {scope['path'][:100]!r}.", "unavailable": "The service is not ready."}
        return to_response(RequestError(code, text.get(code, "The request cannot be answered.")), of(scope))

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
        # All keys are compared, whichever fits, and as digests of one length: the time taken tells nothing.
        fits = [hmac.compare_digest(_digest(given.strip()), key) for key in self._keys]
        if scheme.lower() != b"bearer" or not any(fits):
            raise RequestError("unauthorized", "Send a valid key: 'Authorization: Bearer KEY'.")


async def _withhold_error(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> Message | None:
    """Let `app` answer; the start of an error that is not ours, and so not of our shape, is returned, not sent."""
    failed: Message | None = None

    async def send_success(message: Message) -> None:
        nonlocal failed
        if message["type"] == "http.response.start" and message["status"] >= 400 and not of(scope).code:
            failed = message
        if failed is None:
            await send(message)

    await app(scope, receive, send_success)
    return failed


def _not_allowed(message: str, allowed: str, exchange: Exchange) -> Response:
    response = to_response(RequestError("method_not_allowed", message), exchange)
    response.headers["allow"] = allowed
    return response


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
