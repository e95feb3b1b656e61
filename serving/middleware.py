"""The middleware that every request passes: context, CORS, errors, API keys.

    ContextMiddleware   request id, metrics, log
    CORSMiddleware      Starlette's, where origins are allowed
    ErrorMiddleware     every error is one JSON object
    ClientLimit...      requests of one client at once, where they are limited
    AuthMiddleware      API key, before a byte of a body is read
    Router              our routes, and those of `bentoml_routes`

In: ASGI requests. Out: responses. `enclose` puts them together.
"""

import hashlib
import hmac
import time
from collections import Counter
from collections.abc import Set
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import context
from serving.api import routes
from serving.api.router import Router, Routes
from serving.context import REQUEST_ID
from serving.errors import RequestError, without_frames
from serving.logs import LOGGER, AccessLog
from serving.metrics import Metrics
from serving.settings import Settings

_OUT_OF_MEMORY: Final = "There is not enough memory for the request; try again later."
_INTERNAL_ERROR: Final = "An internal error; the log of the service has it under the request id."


def enclose(
    app: ASGIApp, handlers: Routes, settings: Settings, metrics: Metrics, access_log: AccessLog | None
) -> ASGIApp:
    """The whole application: `handlers` by path and method, and `app` for the routes of BentoML's clients."""
    inner: ASGIApp = Router(app, handlers)
    if settings.api_keys:
        inner = AuthMiddleware(inner, settings)
    if settings.client_concurrency:
        inner = ClientLimitMiddleware(inner, settings.client_concurrency)
    inner = ErrorMiddleware(inner)
    if settings.cors_origins:
        inner = _cors(inner, settings)
    return ContextMiddleware(inner, handlers.keys() | routes.BENTOML, metrics, access_log)


class ContextMiddleware:
    """Starts the context of a request, adds its id to the response, counts and logs it."""

    def __init__(self, app: ASGIApp, paths: Set[str], metrics: Metrics, access_log: AccessLog | None) -> None:
        self._app = app
        self._paths = paths
        self._metrics = metrics
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        metrics, path = self._metrics, scope["path"]
        request = context.start(scope, _route(path, self._paths))
        request.text_errors = path.startswith(f"{routes.V2}/")
        request_id = (REQUEST_ID.encode(), request.request_id.encode())
        started = time.perf_counter()

        async def receive_part() -> Message:
            message = await receive()
            request.body_received = message["type"] == "http.disconnect" or not message.get("more_body", False)
            return message

        async def send_part(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
                message["headers"] = [*message.get("headers", ()), request_id]
                # Before a byte is sent: a client that has its answer finds it in the metrics, whichever worker it asks.
                context.record(request, time.perf_counter() - started, metrics, self._access_log)
            await send(message)

        metrics.active_requests.inc()
        try:
            await self._app(scope, receive_part, send_part)
        finally:
            metrics.active_requests.inc(-1)


class ErrorMiddleware:
    """Turns what is raised inside into a response: a `RequestError` has a code, too little memory is overload.

    Anything else is a mistake of ours: it is logged.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = context.get(scope)
        try:
            await self._app(scope, receive, send)
            return
        except RequestError as error:
            response = context.error_response(without_frames(error), request)
        except MemoryError as error:
            LOGGER.error("out of memory: %s", error, extra={"request_id": request.request_id, "route": request.route})
            if request.status:
                raise
            response = context.error_response(RequestError("overloaded", _OUT_OF_MEMORY), request)
        except Exception:
            LOGGER.exception("internal error", extra={"request_id": request.request_id, "route": request.route})
            if request.status:  # a response is under way: there is only closing the connection
                raise
            response = context.error_response(RequestError("internal_error", _INTERNAL_ERROR), request)
        if not request.body_received:
            send = context.lingering(receive, send, request)
        await response(scope, receive, send)


class ClientLimitMiddleware:
    """Refuses requests for work of a client address that has `limit` of them in progress in this worker."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit
        self._in_progress: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not routes.is_work(scope["path"]):
            await self._app(scope, receive, send)
            return
        client = (scope["client"] or ("",))[0]
        if self._in_progress[client] >= self._limit:
            raise RequestError("too_many_requests", f"This client has {self._limit} requests in progress already.")
        self._in_progress[client] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_progress[client] -= 1
            if not self._in_progress[client]:
                del self._in_progress[client]


class AuthMiddleware:
    """Refuses requests without a valid API key (`Authorization: Bearer KEY`), but on open routes."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._keys = [_digest(key.get_secret_value().encode()) for key in settings.api_keys]
        self._public_metrics = settings.public_metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if routes.needs_key(scope["path"], self._public_metrics):
            scheme, _, given = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
            # All keys are compared, whichever matches, and as digests of one length: the time taken tells nothing.
            matches = [hmac.compare_digest(_digest(given.strip()), key) for key in self._keys]
            if scheme.lower() != b"bearer" or not any(matches):
                raise RequestError("unauthorized", "Send a valid key: 'Authorization: Bearer KEY'.")
        await self._app(scope, receive, send)


def _route(path: str, paths: Set[str]) -> str:
    """One of few values for metrics and logs."""
    for folder in (routes.PAGE_FILES, routes.STATIC_FILES):
        if path.startswith(folder):
            return f"{folder}*"
    if path in paths:
        return path
    return f"{routes.V2}/*" if path.startswith(f"{routes.V2}/") else "other"


def _cors(app: ASGIApp, settings: Settings) -> ASGIApp:
    """Starlette's CORS middleware; its own errors get our shape."""
    cors = CORSMiddleware(
        app,
        allow_origins=settings.cors_origins,
        allow_methods=("GET", "POST"),
        allow_headers=("authorization", "content-type", REQUEST_ID),
        expose_headers=(REQUEST_ID, "retry-after"),
    )

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        if await context.withhold_error(cors, scope, receive, send):
            error = RequestError("client_error", "Pages of this origin may not send this request.")
            await context.error_response(error, context.get(scope))(scope, receive, send)

    return respond


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
