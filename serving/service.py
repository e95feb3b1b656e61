"""The service as BentoML knows it: `bentoml serve` starts it, `bentofile.yaml` packs it.

In: environment variables (`Settings`). Importing this module reads them: what is wrong is said there, in one line, and
nothing is started. What runs is `serving.server`, as for `alexnet serve`: BentoML's own worker would decode images
before our code sees them, answer 500 when that fails, and download what looks like a URL.

    python -m serving.service      writes schema.json, from which BentoML's clients know the routes
"""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Final

os.environ["BENTOML_DO_NOT_TRACK"] = "True"  # the service makes no outgoing connection

import bentoml
import bentoml.serving
from annotated_types import Ge, Le
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.utils import circus
from bentoml._internal.utils.analytics import usage_stats
from bentoml.exceptions import BentoMLException
from bentoml.validators import ContentType

from alexnet.errors import UserError
from alexnet.inference.prediction import DEFAULT_TOP_K, MAX_TOP_K
from serving import logs, settings
from serving.api import routes
from serving.server.bentoml_routes import SCHEMA
from serving.server.supervisor import Arbiter

_HERE: Final = "127.0.0.1"
_SCHEMA_ONLY: Final = "This endpoint only describes its route to BentoML's clients; serving.app answers it."
# What BentoML can configure and we replace: its place, BentoML's default, and what to set instead.
_REPLACED: Final = (
    ("http.cors.enabled", False, "ALEXNET_CORS_ORIGINS"),
    ("traffic.timeout", 60.0, "ALEXNET_TIME_LIMIT"),
    ("traffic.max_concurrency", None, "ALEXNET_CONCURRENCY and ALEXNET_QUEUE"),
    ("logging.access.enabled", False, "ALEXNET_ACCESS_LOG and ALEXNET_LOG_FORMAT"),
    ("metrics.enabled", False, "nothing: /metrics is always there"),
    ("ssl.enabled", False, "nothing: TLS is the proxy's"),
)
_REPLACED_FLAGS: Final = {"--timeout": "ALEXNET_TIME_LIMIT", "--timeout-keep-alive": "ALEXNET_KEEP_ALIVE"}

# The command `bentoml serve` has asked for it before it imports this module, and remembers the answer.
usage_stats.do_not_track.cache_clear()

Image = Annotated[Path, ContentType("image/*")]
TopK = Annotated[int, Ge(1), Le(MAX_TOP_K)]

try:
    SETTINGS: Final = settings.load()
except UserError as error:
    raise BentoMLException(str(error)) from None


@bentoml.service(
    name="alexnet-cifar10", metrics={"enabled": False}, logging={"access": {"enabled": False}}, http={"host": _HERE}
)
class AlexNetService:
    """Names what is in an image: one of the classes that the model file lists."""

    @bentoml.api(route=routes.CLASSIFY)
    def classify(self, image: Image, top_k: TopK = DEFAULT_TOP_K) -> dict[str, Any]:
        """Name what is in `image`, a JPEG, PNG, WebP, GIF or BMP file: its `top_k` best classes, best first."""
        raise NotImplementedError(_SCHEMA_ONLY)

    @bentoml.api(route=routes.CLASSIFY_BATCH)
    def classify_batch(self, images: list[Image], top_k: TopK = DEFAULT_TOP_K) -> dict[str, Any]:
        """The same for many images: in their order, an answer or an error for each."""
        raise NotImplementedError(_SCHEMA_ONLY)


def _create_arbiter(watchers: list[Any], *, sockets: list[Any], **_: Any) -> Arbiter:
    """In place of BentoML's supervisor and workers: ours, on the same address."""
    logs.configure(SETTINGS.log_format)
    configured = BentoMLContainer.api_server_config.get()
    for place, default, instead in _REPLACED:
        value = configured
        for name in place.split("."):
            value = value[name]
        if value != default:
            logs.LOGGER.warning(f"BentoML's {place} has no effect here; instead: {instead}")
    for flag in _REPLACED_FLAGS.keys() & set(watchers[-1].args):
        logs.LOGGER.warning(f"{flag} has no effect here; instead: {_REPLACED_FLAGS[flag]}")
    (listening,) = sockets
    try:
        return Arbiter(listening.host, listening.port, SETTINGS, backlog=listening.backlog)
    except UserError as error:
        raise BentoMLException(str(error)) from None
    finally:
        listening.close()


def _no_folder(**_: Any) -> str:
    """In place of BentoML's folder for metrics, which all services of a user share, and which it would empty."""
    return ""


circus.create_standalone_arbiter = _create_arbiter  # type: ignore[assignment]
bentoml.serving.ensure_prometheus_dir = _no_folder  # type: ignore[assignment]

if __name__ == "__main__":
    description: Any = AlexNetService  # the decorator returns BentoML's Service, which its annotations do not say
    SCHEMA.write_text(json.dumps(description.schema(), indent=2) + "\n", encoding="utf-8")
