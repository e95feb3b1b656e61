"""The routes of the service: requests to answers.

In: Starlette requests. Out: responses; what cannot be answered is a `RequestError`, which the gate turns into JSON.
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from alexnet.errors import RequestError
from alexnet.inference.classifier import Classifier
from serving import openapi
from serving.body import Job, read_job
from serving.limits import memory_budget
from serving.metrics import CONTENT_TYPE, Metrics
from serving.middleware import METRICS, Routes
from serving.pipeline import Answer, Answering
from serving.settings import Settings

CLASSIFY: Final = "/classify"
CLASSIFY_BATCH: Final = "/classify_batch"
PREVIEW: Final = "/preview"


class Api:
    """What the service answers, with all that it needs for it. One in each worker.

    `in_hand` tells how many requests there are; without it, as many as there may be.
    """

    def __init__(
        self,
        classifier: Classifier,
        settings: Settings,
        metrics: Metrics,
        concurrency: int,
        in_hand: Callable[[], int] = lambda: sys.maxsize,
    ) -> None:
        self.classifier = classifier
        self.metrics = metrics
        self._settings = settings
        self._memory = memory_budget(settings)
        self._answering = Answering(classifier, settings, metrics, concurrency, in_hand)
        self._identity: dict[str, Any] = {"name": classifier.name, "sha256": classifier.sha256}
        metrics.model_info.labels(
            **self._identity, provider=classifier.provider, degraded=str(classifier.degraded)
        ).set(1)
        if classifier.degraded:  # the CPU in place of the GPU that was wanted: every answer says so
            self._identity["degraded"] = True

    def routes(self) -> Routes:
        """Path to method to handler."""
        page = Path(__file__).parent / "page"
        files = {
            f"/ui/{file.relative_to(page).as_posix()}": {"GET": _file(file)}
            for file in sorted(page.rglob("*"))
            if file.suffix in _MEDIA_TYPES
        }
        return {
            CLASSIFY: {"POST": self.classify},
            CLASSIFY_BATCH: {"POST": self.classify_batch},
            PREVIEW: {"POST": self.preview},
            "/model": {"GET": self.model},
            "/readyz": {"GET": self.ready},
            METRICS: {"GET": self.render_metrics},
            "/docs.json": {"GET": self.openapi},
            "/docs": {"GET": _file(page / "docs.html")},
            "/": {"GET": _redirect},
            "/ui": {"GET": _file(page / "index.html")},
            **files,
        }

    async def classify(self, request: Request) -> Response:
        """One image: its best classes, best first."""
        with self._memory.hold() as add:
            job = await read_job(request, self._settings, len(self.classifier.classes), add, batch=False)
            (result,) = await self._answering.answer(job)
        if isinstance(result, RequestError):
            raise result
        return self._respond(result)

    async def classify_batch(self, request: Request) -> Response:
        """Many images: for each, in order, its best classes or its error."""
        with self._memory.hold() as add:
            job = await read_job(request, self._settings, len(self.classifier.classes), add, batch=True)
            results = await self._answering.answer(job)
        for result in results:
            if isinstance(result, RequestError):
                self.metrics.errors.labels(result.code).inc()
        return self._respond(in_their_places(results))

    async def preview(self, request: Request) -> Response:
        """One image as the model sees it: a PNG file of its pixels. Classifying that file gives the same scores."""
        with self._memory.hold() as add:
            job = await read_job(request, self._settings, len(self.classifier.classes), add, batch=False)
            content = await self._answering.preview(job.images[0])
        return Response(content, media_type="image/png")

    async def model(self, _: Request) -> Response:
        """What is known about the model and where it runs."""
        return JSONResponse(self.classifier.describe())

    async def ready(self, _: Request) -> Response:
        """Ready: requests reach this only after the model is warm. Says so when a preferred GPU is missing."""
        return JSONResponse({"ready": True, "provider": self.classifier.provider, "degraded": self.classifier.degraded})

    async def render_metrics(self, _: Request) -> Response:
        """The metrics of all workers."""
        return Response(self.metrics.render(), media_type=CONTENT_TYPE)

    async def openapi(self, _: Request) -> Response:
        """The OpenAPI description of these routes."""
        return JSONResponse(openapi.describe(self.classifier.classes, self._settings, self.classifier.tells_unknown))

    def answer(self, job: Job) -> list[Answer | RequestError]:
        """For each image of `job` its answer, or the error that it alone gets."""
        return self._answering.answer_here(job)

    def _respond(self, body: dict[str, Any]) -> Response:
        with self.metrics.stage("encode"):
            content = json.dumps({**body, "model": self._identity}, separators=(",", ":"))
            return Response(content, media_type="application/json")


def in_their_places(results: Sequence[Answer | RequestError]) -> dict[str, Any]:
    """The answer to a batch: for each image, in order, its predictions or its error."""
    return {
        "results": [{"error": result.describe()} if isinstance(result, RequestError) else result for result in results]
    }


_MEDIA_TYPES: Final = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
# The page loads nothing from anywhere else, and the browser holds it to that.
_PAGE_HEADERS: Final = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def _file(path: Path) -> Any:
    content, media_type = path.read_bytes(), _MEDIA_TYPES[path.suffix]

    async def respond(_: Request) -> Response:
        return Response(content, media_type=media_type, headers=_PAGE_HEADERS)

    return respond


async def _redirect(_: Request) -> Response:
    return RedirectResponse("/ui")
