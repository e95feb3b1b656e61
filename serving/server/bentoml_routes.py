"""The routes that clients of BentoML expect, answered without BentoML.

Importing BentoML takes a worker 0.6 s of CPU time and 50 MB, and its application would answer on routes of its own
that unpickle bodies and download URLs. What its clients and probes need is two words and two kinds of files.
"""

import importlib.util
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

SCHEMA: Final = Path(__file__).parents[1] / "schema.json"  # `python -m serving.service` writes it
_STATIC: Final = Path("_internal/server/static_content")  # of the package bentoml: Swagger UI


def app() -> Starlette:
    """The probes `/livez` and `/healthz`, `/schema.json` for `bentoml.SyncHTTPClient`, and Swagger UI's files."""
    routes: list[BaseRoute] = [Route("/livez", _alive), Route("/healthz", _alive), Route("/schema.json", _schema)]
    package = importlib.util.find_spec("bentoml")
    for place in package.submodule_search_locations or () if package is not None else ():
        routes.append(Mount("/static_content", StaticFiles(directory=Path(place) / _STATIC)))
    return Starlette(routes=routes)


async def _alive(_: Request) -> Response:
    return PlainTextResponse("\n")


async def _schema(_: Request) -> Response:
    return Response(SCHEMA.read_bytes(), media_type="application/json")
