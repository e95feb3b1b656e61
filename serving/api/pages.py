"""The files of the page at /ui and of /docs, and the headers that keep the page to itself.

All their links are relative, so that they also work behind a proxy that adds a prefix to the path.
"""

from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from serving.api import routes
from serving.router import Handler

_FOLDER: Final = Path(__file__).parents[1] / "page"
_MEDIA_TYPES: Final = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
# The page loads nothing from anywhere else, and the browser holds it to that.
_HEADERS: Final = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def handlers() -> dict[str, dict[str, Handler]]:
    """Path to method to handler."""
    files = {
        routes.PAGE_FILES + path.relative_to(_FOLDER).as_posix(): {"GET": _file(path)}
        for path in sorted(_FOLDER.rglob("*"))
        if path.suffix in _MEDIA_TYPES
    }
    return {
        routes.ROOT: {"GET": _redirect},
        routes.PAGE: {"GET": _file(_FOLDER / "index.html")},
        routes.DOCS: {"GET": _file(_FOLDER / "docs.html")},
        **files,
    }


def _file(path: Path) -> Handler:
    content, media_type = path.read_bytes(), _MEDIA_TYPES[path.suffix]

    async def respond(_: Request) -> Response:
        return Response(content, media_type=media_type, headers=_HEADERS)

    return respond


async def _redirect(_: Request) -> Response:
    return RedirectResponse(routes.PAGE.removeprefix("/"))  # relative to the root, wherever a proxy has put it
