"""The files of the page at /ui and of /docs, its samples, and the headers that keep the page to itself.

All their links are relative, so that they also work behind a proxy that adds a prefix to the path.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from alexnet.paths import MODEL
from serving.api import routes
from serving.api.router import Handler
from serving.settings import Settings

_FOLDER: Final = Path(__file__).parents[1] / "page"
_SAMPLES: Final = _FOLDER / "samples"
_MEDIA_TYPES: Final = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_SAMPLE_TYPES: Final = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
}
# The page loads nothing from anywhere else, and the browser holds it to that.
_HEADERS: Final = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def find_samples(settings: Settings, classes: Sequence[str]) -> dict[str, Path]:
    """The sample image of each class that has one, in the order of the classes.

    Those that we ship are of the classes of the model that we ship, and of no other.
    """
    folder = settings.samples or (_SAMPLES if settings.model == MODEL else None)
    if folder is None or not folder.is_dir():
        return {}
    files = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in _SAMPLE_TYPES}
    return {name: files[name] for name in classes if name in files}


def card(model: Path) -> Path:
    """The model card beside a model file, where there is one."""
    return model.with_name("README.md")


def handlers(samples: Mapping[str, Path], model: Path) -> dict[str, dict[str, Handler]]:
    """Path to method to handler."""
    files = {
        routes.PAGE_FILES + path.name: {"GET": _file(path, _MEDIA_TYPES[path.suffix])}
        for path in sorted(_FOLDER.iterdir())
        if path.suffix in _MEDIA_TYPES
    }
    images = {
        routes.SAMPLES + name: {"GET": _file(path, _SAMPLE_TYPES[path.suffix.lower()])}
        for name, path in samples.items()
    }
    return {
        routes.ROOT: {"GET": _redirect},
        routes.PAGE: {"GET": _file(_FOLDER / "index.html", "text/html")},
        routes.DOCS: {"GET": _file(_FOLDER / "docs.html", "text/html")},
        **files,
        **images,
        **({routes.CARD: {"GET": _file(card(model), "text/plain")}} if card(model).is_file() else {}),
    }


def _file(path: Path, media_type: str) -> Handler:
    content = path.read_bytes()

    async def respond(_: Request) -> Response:
        return Response(content, media_type=media_type, headers=_HEADERS)

    return respond


async def _redirect(_: Request) -> Response:
    return RedirectResponse(routes.PAGE.removeprefix("/"))  # relative to the root, wherever a proxy has put it
