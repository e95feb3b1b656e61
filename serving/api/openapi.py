"""The OpenAPI description of the service, from the shapes in `schemas` and the table of error codes."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from alexnet import __version__
from alexnet.inference.prediction import DEFAULT_TOP_K, MAX_TOP_K
from serving.api import routes, schemas
from serving.body.request import TOP_K
from serving.context import REQUEST_ID
from serving.errors import CODES
from serving.settings import Settings

_SHAPES: Final[tuple[type[BaseModel], ...]] = (
    schemas.ImageForm, schemas.ImagesForm, schemas.ImageJson, schemas.ImagesJson, schemas.Classification,
    schemas.BatchClassification, schemas.Explanation, schemas.ModelInfo, schemas.Readiness, schemas.ErrorResponse,
)  # fmt: skip
_REF: Final = "#/components/schemas/{model}"
_TEXT: Final = {"text/plain": {"schema": {"type": "string"}}}

_EVERYWHERE: Final = (
    "malformed_request", "method_not_allowed", "upload_too_slow", "too_many_requests", "headers_too_large",
    "internal_error",
)  # fmt: skip
_BODY: Final = (
    "malformed_body", "missing_image", "not_a_file", "invalid_top_k", "body_too_large",
    "too_many_images", "unsupported_media_type", "overloaded", "timed_out",
)  # fmt: skip
_IMAGE: Final = (
    "invalid_base64", "empty_image", "unsupported_format", "too_many_pixels", "too_complex", "unsupported_mode",
    "truncated_image", "damaged_image",
)  # fmt: skip

Json = dict[str, Any]


def describe(classes: int, settings: Settings) -> Json:
    """The OpenAPI 3.1 document of a service whose model has so many classes."""
    paths = _paths(_top_k(classes))
    if settings.api_keys:
        for path, methods in paths.items():
            if routes.needs_key(path, settings.public_metrics):
                for operation in methods.values():
                    operation["security"] = [{"key": []}]
                    operation["responses"] |= _errors(["unauthorized"])
    components: Json = {"schemas": _schemas(classes, settings.max_images)}
    if settings.api_keys:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "alexnet-cifar10", "version": __version__, "description": "Classifies images."},
        "servers": [{"url": "."}],  # beside this document, also behind a proxy that adds a prefix
        "paths": paths,
        "components": components,
    }


def _paths(top_k: Json) -> Json:
    image = {
        "multipart/form-data": _content(schemas.ImageForm),
        "application/json": _content(schemas.ImageJson),
        "application/octet-stream": {"schema": schemas.FILE},  # or image/*, which client generators do not know
    }
    images = {
        "multipart/form-data": _content(schemas.ImagesForm),
        "application/json": _content(schemas.ImagesJson),  # or the bare list, for which generators write broken code
    }
    png = {"image/png": {"schema": schemas.FILE}}
    parameters = [{"name": TOP_K, "in": "query", "required": False, "schema": top_k}]
    return {
        routes.CLASSIFY: _post(
            "classify", "Classify one image", image, _json(schemas.Classification), _IMAGE, parameters
        ),
        routes.CLASSIFY_BATCH: _post(
            "classify_batch", "Classify many images; each answers in its own place", images,
            _json(schemas.BatchClassification), parameters=parameters,
        ),
        routes.EXPLAIN: _post(
            "explain", "How much each part of an image matters for its best class", image, _json(schemas.Explanation),
            _IMAGE,
        ),
        routes.PREVIEW: _post("preview", "The image as the model sees it", image, png, _IMAGE),
        routes.MODEL: _get("model", "What is known about the model", _json(schemas.ModelInfo)),
        routes.READY: _get("ready", "Whether requests are taken", _json(schemas.Readiness)),
        routes.LIVE: _get("live", "Whether the process lives", _TEXT),
        routes.METRICS: _get("metrics", "Metrics in the text format of Prometheus", _TEXT),
    }  # fmt: skip


def _post(
    name: str, summary: str, body: Json, answer: Json, codes: Sequence[str] = (), parameters: Sequence[Json] = ()
) -> dict[str, Json]:
    operation = _operation(name, summary, answer, (*_BODY, *codes))
    return {"post": operation | {"parameters": parameters, "requestBody": {"required": True, "content": body}}}


def _get(name: str, summary: str, answer: Json) -> dict[str, Json]:
    return {"get": _operation(name, summary, answer, ())}


def _operation(name: str, summary: str, answer: Json, codes: Sequence[str]) -> Json:
    header = {REQUEST_ID: {"schema": {"type": "string"}, "description": "the request's id, also in the log"}}
    return {
        "operationId": name,
        "summary": summary,
        "responses": {
            "200": {"description": "OK", "headers": header, "content": answer},
            **_errors((*_EVERYWHERE, *codes)),
        },
    }


def _errors(codes: Sequence[str]) -> Json:
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(CODES[code].status, []).append(code)
    return {
        str(status): {
            "description": " ".join(f"`{code}`: {CODES[code].meaning}" for code in codes),
            "content": _json(schemas.ErrorResponse),
        }
        for status, codes in sorted(by_status.items())
    }


def _schemas(classes: int, max_images: int) -> Json:
    """The shapes, with the bounds of this model and these settings."""
    found: Mapping[str, Any] = models_json_schema([(shape, "serialization") for shape in _SHAPES], ref_template=_REF)[1]
    defined: Json = found["$defs"]
    for name in ("ImageForm", "ImagesForm", "ImageJson", "ImagesJson"):
        properties = defined[name]["properties"]
        properties[TOP_K] |= _top_k(classes)
        if "images" in properties:
            properties["images"]["maxItems"] = max_images
    return defined


def _top_k(classes: int) -> Json:
    return {
        "type": "integer",
        "minimum": 1,
        "maximum": min(classes, MAX_TOP_K),
        "default": min(DEFAULT_TOP_K, classes),
    }


def _json(shape: type[BaseModel]) -> Json:
    return {"application/json": _content(shape)}


def _content(shape: type[BaseModel]) -> Json:
    return {"schema": {"$ref": _REF.format(model=shape.__name__)}}
