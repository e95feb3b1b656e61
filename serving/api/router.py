"""A request to the handler of its route.

In: an ASGI request with its context. Out: the response of a handler, or of the application for BentoML's clients where
it answers well. Raises `RequestError`: `not_found`, `method_not_allowed`, or what a handler raises.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import context
from serving.api import routes
from serving.errors import RequestError

Handler = Callable[[Request], Awaitable[Response]]
# Path to method to handler.
Routes = Mapping[str, Mapping[str, Handler]]

_BENTOML_CODES: Final = {404: "not_found", 405: "method_not_allowed", 503: "unavailable", 504: "timed_out"}


class Router:
    """`bentoml` answers the few routes of `routes.BENTOML`, handlers answer the others."""

    def __init__(self, bentoml: ASGIApp, handlers: Routes) -> None:
        self._bentoml = bentoml
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        handlers = self._handlers.get(path)
        if handlers is not None:
            response = await _handler(handlers, scope)(Request(scope, receive))
            await response(scope, receive, send)
        elif path in routes.BENTOML or path.startswith(routes.STATIC_FILES):
            failed = await context.withhold_error(self._bentoml, scope, receive, send)
            if failed is not None:
                raise _bentoml_error(failed, scope)
        else:
            raise _not_found(path)


def _handler(handlers: Mapping[str, Handler], scope: Scope) -> Handler:
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    if method not in handlers:
        allowed = ", ".join([*handlers, "HEAD"] if "GET" in handlers else handlers)
        raise _not_allowed(scope["path"], method, allowed)
    return handlers[method]


def _not_found(path: str) -> RequestError:
    return RequestError("not_found", f"There is no route {path[:100]!r}.")


def _not_allowed(path: str, method: str, allowed: str) -> RequestError:
    return RequestError("method_not_allowed", f"{path} takes {allowed}, not {method[:20]}.", headers={"allow": allowed})


def _bentoml_error(failed: Message, scope: Scope) -> RequestError:
    """The error that stands for an error response of BentoML's."""
    status = failed["status"]
    code = _BENTOML_CODES.get(status, "client_error" if status < 500 else "internal_error")
    if code == "not_found":
        return _not_found(scope["path"])
    if code == "method_not_allowed":
        allowed = dict(failed["headers"]).get(b"allow", b"").decode()
        return _not_allowed(scope["path"], scope["method"], allowed)
    return RequestError(code, "The service is not ready." if code == "unavailable" else "It cannot be answered.")
