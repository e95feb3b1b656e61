"""The OpenAPI description of the service, built from the same tables that the routes use."""

from collections.abc import Sequence
from typing import Any

from alexnet.inference.decode import FORMATS
from serving.body.request import DEFAULT_TOP_K, MANY, MAX_TOP_K, ONE, TOP_K
from serving.context import REQUEST_ID
from serving.errors import CODES
from serving.settings import Settings

_TEXT = {"type": "string"}
_EVERYWHERE = ("malformed_request", "method_not_allowed", "upload_too_slow", "internal_error")
_BODY = (
    "malformed_body", "missing_image", "not_a_file", "invalid_top_k", "body_too_large",
    "too_many_images", "unsupported_media_type", "overloaded", "timed_out",
)  # fmt: skip
_IMAGE = (
    "invalid_base64", "empty_image", "unsupported_format", "too_many_pixels", "unsupported_mode", "truncated_image",
    "damaged_image",
)  # fmt: skip


def describe(classes: Sequence[str], settings: Settings, tells_unknown: bool = False) -> dict[str, Any]:
    """The OpenAPI 3.1 document for a model that knows `classes` and, maybe, tells what is none of them."""
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    base64 = {"type": "string", "contentEncoding": "base64", "description": "base64, with or without a data: prefix"}
    top_k = {"type": "integer", "minimum": 1, "maximum": min(len(classes), MAX_TOP_K)}
    top_k["default"] = min(DEFAULT_TOP_K, len(classes))
    one = {
        "multipart/form-data": {"schema": _object({ONE: file, TOP_K: top_k}, [ONE])},
        "application/json": {"schema": _object({ONE: base64, TOP_K: top_k}, [ONE])},
        **{f"image/{name.lower()}": {"schema": {}} for name in FORMATS},
        "application/octet-stream": {"schema": {}},
    }
    files, texts = ({"type": "array", "items": item, "maxItems": settings.max_images} for item in (file, base64))
    many = {
        "multipart/form-data": {"schema": _object({MANY: files, TOP_K: top_k}, [MANY])},
        "application/json": {"schema": {"oneOf": [texts, _object({MANY: texts, TOP_K: top_k}, [MANY])]}},
    }
    prediction = _object({"label": {"enum": list(classes)}, "score": {"type": "number", "minimum": 0, "maximum": 1}})
    predictions = {"type": "array", "items": prediction, "minItems": 1}
    model = _object({"name": _TEXT, "sha256": _TEXT, "degraded": {"const": True}}, ["name", "sha256"])
    failed = _object({"error": _object({"code": {"enum": [*_IMAGE]}, "message": _TEXT})})
    unknown = {"type": "boolean", "description": "whether the image probably shows none of the classes"}
    answer: dict[str, Any] = {"predictions": predictions} | ({"unknown": unknown} if tells_unknown else {})
    result = {"oneOf": [_object(answer), failed]}
    parameter = {"name": TOP_K, "in": "query", "required": False, "schema": top_k}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "alexnet-cifar10", "version": "1", "description": "Names what is in a picture."},
        "paths": {
            "/classify": {
                "post": _operation(
                    "classify", "Classify one image", _object({**answer, "model": model}),
                    (*_BODY, *_IMAGE), body=one, parameters=[parameter],
                )
            },
            "/classify_batch": {
                "post": _operation(
                    "classify_batch", "Classify many images; each answers in its own place",
                    _object({"results": {"type": "array", "items": result}, "model": model}),
                    _BODY, body=many, parameters=[parameter],
                )
            },
            "/preview": {
                "post": _operation(
                    "preview", "The image as the model sees it", {"contentMediaType": "image/png"}, (*_BODY, *_IMAGE),
                    body=one, media_type="image/png",
                )
            },
            "/model": {"get": _operation("model", "What is known about the model", {"type": "object"}, ())},
            "/readyz": {
                "get": _operation(
                    "ready", "Whether requests are taken",
                    _object({"ready": {"type": "boolean"}, "provider": _TEXT, "degraded": {"type": "boolean"}}), (),
                )
            },
            "/livez": {"get": _operation("live", "Whether the process lives", None, ())},
            "/metrics": {"get": _operation("metrics", "Metrics in the text format of Prometheus", None, ())},
        },
    }  # fmt: skip
    if settings.api_keys:
        document["components"] = {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}
        closed = ["/classify", "/classify_batch", "/preview", "/model"]
        if not settings.public_metrics:
            closed.append("/metrics")
        for path in closed:
            for operation in document["paths"][path].values():
                operation["security"] = [{"key": []}]
                operation["responses"].update(_errors(["unauthorized"]))
    return document


def _operation(
    name: str,
    summary: str,
    answer: dict[str, Any] | None,
    codes: Sequence[str],
    *,
    body: dict[str, Any] | None = None,
    media_type: str = "application/json",
    parameters: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """One operation; `answer` is the schema of what it answers as `media_type`, None for plain text."""
    content = {"text/plain": {"schema": _TEXT}} if answer is None else {media_type: {"schema": answer}}
    header = {REQUEST_ID: {"schema": _TEXT, "description": "the request's id, also in the log"}}
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "parameters": list(parameters),
        "responses": {
            "200": {"description": "OK", "headers": header, "content": content},
            **_errors((*_EVERYWHERE, *codes)),
        },
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": body}
    return operation


def _errors(codes: Sequence[str]) -> dict[str, Any]:
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(CODES[code].status, []).append(code)
    return {
        str(status): {
            "description": " ".join(f"`{name}`: {CODES[name].meaning}" for name in names),
            "content": {"application/json": {"schema": _error(names)}},
        }
        for status, names in sorted(by_status.items())
    }


def _error(names: Sequence[str]) -> dict[str, Any]:
    return _object({"error": _object({"code": {"enum": list(names)}, "message": _TEXT, "request_id": _TEXT})})


def _object(properties: dict[str, Any], required: Sequence[str] | None = None) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties if required is None else required)}
