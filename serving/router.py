"""A request to the handler of its route, or to BentoML.

In: an ASGI request with its context. Out: the response of a handler, or BentoML's where it answers well. Raises
`RequestError`: `not_found`, or what a handler raises.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import context
from serving.api import routes
from serving.errors import RequestError
from serving.metrics import Metrics

Handler = Callable[[Request], Awaitable[Response]]
# Path to method to handler.
Routes = Mapping[str, Mapping[str, Handler]]

_BENTOML_CODES: Final = {404: "not_found", 405: "method_not_allowed", 503: "unavailable", 504: "timed_out"}


class Router:
    """`bentoml` answers its own few routes, handlers answer the others."""

    def __init__(self, bentoml: ASGIApp, get_routes: Callable[[], tuple[Routes, Metrics]]) -> None:
        self._bentoml = bentoml
        self._get_routes = get_routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        handlers = self._get_routes()[0].get(path)
        if handlers is not None:
            response = await self._handle(handlers, scope, receive)
        elif path in routes.BENTOML or path.startswith(routes.STATIC_FILES):
            failed = await context.withhold_error(self._bentoml, scope, receive, send)
            if failed is None:
                return
            response = _bentoml_error(failed, scope)
        else:
            raise _not_found(path)
        if context.get(scope).code and not context.get(scope).body_received:
            send = context.lingering(receive, send, context.get(scope))
        await response(scope, receive, send)

    async def _handle(self, handlers: Mapping[str, Handler], scope: Scope, receive: Receive) -> Response:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if method in handlers:
            return await handlers[method](Request(scope, receive))
        allowed = ", ".join([*handlers, "HEAD"] if "GET" in handlers else handlers)
        error = RequestError("method_not_allowed", f"{scope['path']} takes {allowed}, not {method[:20]}.")
        return context.error_response(error, context.get(scope), allowed)


def _not_found(path: str) -> RequestError:
    return RequestError("not_found", f"There is no route {path[:100]!r}.")


def _bentoml_error(failed: Message, scope: Scope) -> Response:
    """An error response of our shape in place of BentoML's."""
    status, path = failed["status"], scope["path"]
    code = _BENTOML_CODES.get(status, "client_error" if status < 500 else "internal_error")
    if code == "not_found":
        return context.error_response(_not_found(path), context.get(scope))
    if code == "method_not_allowed":
        allowed = dict(failed["headers"]).get(b"allow", b"").decode()
        return context.error_response(RequestError(code, f"{path} takes {allowed}."), context.get(scope), allowed)
    text = "The service is not ready." if code == "unavailable" else "The request cannot be answered."
    return context.error_response(RequestError(code, text), context.get(scope))
