"""The BentoML service: `bentoml serve` starts it, `bentofile.yaml` packs it.

In: environment variables (`Settings`) and HTTP requests. Out: HTTP answers. Importing this module reads the settings
and the model, since BentoML imports it first in the process that starts the workers: what is wrong is said there, in
one line, and nothing is started.

BentoML's typed endpoints decode an image before our code sees it, answer 500 when that fails, and download what looks
like a URL. So `ServiceMiddleware` stands before them and answers `/classify` and `/classify_batch` itself. The typed
endpoints below only describe those routes to BentoML's clients: they are never called.
"""

import functools
import gc
import os
from pathlib import Path
from typing import Annotated, Any, Final

os.environ["BENTOML_DO_NOT_TRACK"] = "True"  # the service makes no outgoing connection

import bentoml
from annotated_types import Ge, Le
from bentoml._internal.server.http import traffic
from bentoml._internal.utils.analytics import usage_stats
from bentoml.exceptions import BentoMLException
from bentoml.validators import ContentType
from starlette.responses import Response
from starlette.types import ASGIApp

from alexnet.errors import UserError
from alexnet.inference import cpus
from alexnet.inference.classifier import Classifier
from alexnet.inference.prediction import DEFAULT_TOP_K, MAX_TOP_K
from alexnet.inference.session import installed_runtimes
from serving import context, http_protocol, logs, settings
from serving.api import routes
from serving.app import Api
from serving.errors import RequestError
from serving.metrics import Metrics
from serving.middleware import ServiceMiddleware
from serving.router import Routes

# The command `bentoml serve` has asked for it before it imports this module, and remembers the answer.
usage_stats.do_not_track.cache_clear()


def _untimed(app: Any, timeout: float) -> Any:
    """In place of BentoML's own time limit, which leaves a timer of 5 kB behind each request until it would strike.

    At 1000 requests a second that is 300 MB. Each part of a request has a limit of ours.
    """
    return app


traffic.TimeoutMiddleware = _untimed  # type: ignore[misc,assignment]

_SCHEMA_ONLY: Final = "This endpoint only describes its route; ServiceMiddleware answers it."
Picture = Annotated[Path, ContentType("image/*")]
TopK = Annotated[int, Ge(1), Le(MAX_TOP_K)]


@functools.cache
def classifier() -> Classifier:
    """The model of this process."""
    return Classifier(SETTINGS.model, threads=SETTINGS.threads or _THREADS, gpu=SETTINGS.gpu, concurrent=True)


try:
    SETTINGS: Final = settings.load()
    WORKERS, _THREADS = cpus.divide(SETTINGS.workers, SETTINGS.gpu != "never")
    classifier()
except UserError as error:
    raise BentoMLException(str(error)) from None
if bentoml.server_context.worker_index is None:
    classifier.cache_clear()  # the process that starts the workers has checked it, and never answers
logs.configure(SETTINGS.log_format)
# The longest that a request can take.
_LONGEST_SECONDS: Final = SETTINGS.upload_time_limit + SETTINGS.time_limit + 10.0
CONCURRENCY: Final = SETTINGS.concurrency or cpus.usable_cpus()


@bentoml.service(
    name="alexnet-cifar10",
    workers=WORKERS,
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class AlexNetService:
    """Names what is in a picture: one of the classes that the model file lists."""

    def __init__(self) -> None:
        if len(installed_runtimes()) > 1:
            logs.LOGGER.warning("onnxruntime and onnxruntime-gpu are both installed: the GPU cannot be used")
        self.api = Api(classifier(), SETTINGS, Metrics(), CONCURRENCY, http_protocol.in_hand)  # warm before ready
        self.handlers = self.api.handlers()
        gc.freeze()  # a collection that looks at all of BentoML takes tens of milliseconds, in the middle of a request

    @bentoml.api(route=routes.CLASSIFY)
    def classify(self, image: Picture, top_k: TopK = DEFAULT_TOP_K) -> dict[str, Any]:
        """Name what is in `image`, a JPEG, PNG, WebP, GIF or BMP file: its `top_k` best classes, best first."""
        raise NotImplementedError(_SCHEMA_ONLY)

    @bentoml.api(route=routes.CLASSIFY_BATCH)
    def classify_batch(self, images: list[Picture], top_k: TopK = DEFAULT_TOP_K) -> dict[str, Any]:
        """The same for many images: in their order, an answer or an error for each."""
        raise NotImplementedError(_SCHEMA_ONLY)


@functools.cache
def _inside() -> tuple[Routes, Metrics]:
    instance = bentoml.get_current_service()
    return instance.handlers, instance.api.metrics


def _refuse(error: RequestError, scope: Any) -> Response:
    return context.refuse(error, scope, _inside()[1], SETTINGS.access_log)


@functools.cache
def _enclose(app: ASGIApp) -> ServiceMiddleware:
    return ServiceMiddleware(app, SETTINGS, _inside)


_service: Any = AlexNetService  # BentoML's decorator returns its own Service, which its annotations do not say
_service.add_asgi_middleware(
    ServiceMiddleware, settings=SETTINGS, get_routes=_inside
)  # for servers other than `bentoml serve`
http_protocol.install(SETTINGS.upload_time_limit, _LONGEST_SECONDS, _refuse, _enclose)
