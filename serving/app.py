"""The handlers of the routes: requests to responses.

In: Starlette requests. Out: responses. Raises `RequestError`, which the middleware turns into JSON.
"""

from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from alexnet.inference.classifier import Classifier
from alexnet.inference.prediction import Prediction
from serving.api import model_info, openapi, pages, routes
from serving.api.open_inference import OpenInference
from serving.api.router import Handler
from serving.body.request import BodyReader, disconnected
from serving.context import JSON_HEADERS, JsonBytes
from serving.errors import RequestError
from serving.inference.pipeline import Capacity, Pipeline
from serving.limits import memory_budget
from serving.metrics import CONTENT_TYPE, Metrics
from serving.settings import Settings


class Api:
    """What the service answers, with all that it needs for it. One in each worker."""

    def __init__(self, classifier: Classifier, settings: Settings, metrics: Metrics, capacity: Capacity) -> None:
        self.classifier = classifier
        self.metrics = metrics
        self._settings = settings
        self._memory = memory_budget(settings)
        self.pipeline = Pipeline(classifier, settings, metrics, self._memory, capacity)
        self._samples = pages.find_samples(settings, classifier.classes)
        self._info = model_info.describe(classifier, settings.model, tuple(self._samples)).model_dump(mode="json")
        self._reader = BodyReader(settings, len(classifier.classes), self.pipeline.offload)
        self._open_inference = OpenInference(classifier, settings, self._memory, self.pipeline)
        self._model: dict[str, Any] = {"name": classifier.name, "sha256": classifier.sha256}
        metrics.describe_model(classifier)
        if classifier.degraded:  # the CPU in place of the GPU that was wanted: every answer says so
            self._model["degraded"] = True

    def handlers(self) -> dict[str, dict[str, Handler]]:
        """Path to method to handler."""
        return {
            routes.CLASSIFY: {"POST": self.classify},
            routes.CLASSIFY_BATCH: {"POST": self.classify_batch},
            routes.EXPLAIN: {"POST": self.explain},
            routes.PREVIEW: {"POST": self.preview},
            routes.MODEL: {"GET": self.model},
            routes.READY: {"GET": self.ready},
            routes.METRICS: {"GET": self.render_metrics},
            routes.OPENAPI: {"GET": self.openapi},
            **self._open_inference.handlers(),
            **pages.handlers(self._samples, self._settings.model),
        }

    async def classify(self, request: Request) -> Response:
        """One image: its best classes, best first."""
        with self._memory.hold() as hold:
            images = await self._reader.read(request, hold, batch=False)
            (result,) = await self.pipeline.classify(images, disconnected(request))
        if isinstance(result, RequestError):
            raise result
        return self._respond(result.describe())

    async def classify_batch(self, request: Request) -> Response:
        """Many images: for each, in order, its best classes or its error."""
        with self._memory.hold() as hold:
            images = await self._reader.read(request, hold, batch=True)
            results = await self.pipeline.classify(images, disconnected(request))
        for result in results:
            if isinstance(result, RequestError):
                self.metrics.count_error(result.code)
        return self._respond(_batch(results))

    async def preview(self, request: Request) -> Response:
        """One image as the model sees it: a PNG file of its pixels. Classifying that file gives the same scores."""
        with self._memory.hold() as hold:
            images = (await self._reader.read(request, hold, batch=False)).images
            content = await self.pipeline.preview(images[0], disconnected(request))
        return Response(content, media_type="image/png")

    async def explain(self, request: Request) -> Response:
        """How much each part of one image matters for its best class."""
        with self._memory.hold() as hold:
            images = (await self._reader.read(request, hold, batch=False)).images
            explanation = await self.pipeline.explain(images[0], disconnected(request))
        return self._respond(explanation)

    async def model(self, _: Request) -> Response:
        """What is known about the model and where it runs."""
        return JSONResponse(self._info, headers=JSON_HEADERS)

    async def ready(self, _: Request) -> Response:
        """Ready: requests reach this only after the model is warm. Says so when a preferred GPU is missing."""
        ready = {"ready": True, "provider": self.classifier.provider, "degraded": self.classifier.degraded}
        return JSONResponse(ready, headers=JSON_HEADERS)

    async def render_metrics(self, _: Request) -> Response:
        """The metrics of all workers."""
        return Response(self.metrics.render(), media_type=CONTENT_TYPE)

    async def openapi(self, _: Request) -> Response:
        """The OpenAPI description of these routes."""
        described = openapi.describe(len(self.classifier.classes), self._settings)
        return JSONResponse(described, headers=JSON_HEADERS)

    def _respond(self, body: dict[str, Any]) -> Response:
        with self.metrics.stage("encode"):
            return JsonBytes(to_json({**body, "model": self._model}))


def _batch(results: Sequence[Prediction | RequestError]) -> dict[str, Any]:
    """The answer to a batch: for each image, in order, its prediction or its error."""
    return {
        "results": [
            {"error": result.describe()} if isinstance(result, RequestError) else result.describe()
            for result in results
        ]
    }
