"""HTTP requests to images.

In: a multipart form (field `image`, or repeated `images`), the raw bytes of one image, or JSON with base64. Out:
`ClassifyRequest`, the images in order and how many classes are wanted. Bodies are counted and timed as they come;
nothing is fetched from anywhere, and nothing is written to disk.
"""

import asyncio
import functools
import io
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request

from alexnet.inference.prediction import DEFAULT_TOP_K, MAX_TOP_K
from serving import context
from serving.body import json_body, multipart
from serving.errors import RequestError
from serving.inference.pending import Disconnected
from serving.inference.pipeline import ClassifyRequest
from serving.inference.scheduler import Cost
from serving.settings import Settings

ONE: Final = "image"
MANY: Final = "images"
TOP_K: Final = "top_k"

_MULTIPART: Final = "multipart/form-data"
_JSON: Final = "application/json"
_MAX_TEXT_FIELDS: Final = 16
_SMALL_BYTES: Final = 65_536  # of a body that is parsed where it arrives; a larger one in a thread
# Bytes that parsing takes for each of the body, beside it: a form's files are copied out of it; JSON becomes a text,
# the text of each image, and its bytes.
_PARSING_BYTES: Final = {_MULTIPART: 1, _JSON: 3}
_PARSING_SECONDS: Final = 2e-8  # for a byte
Fields = dict[str, list[Any]]
# Counts bytes that are held for a request. Raises `RequestError` `overloaded` when there is no room for them.
Hold = Callable[[int], None]
# Runs a function that takes so many bytes and so long off the event loop.
Offload = Callable[[Callable[[], Fields], Cost], Awaitable[Fields]]


class BodyReader:
    """Reads requests to a model of so many `classes`; large bodies are parsed by `offload`."""

    def __init__(self, settings: Settings, classes: int, offload: Offload) -> None:
        self._settings = settings
        self._classes = classes
        self._offload = offload

    async def read(self, request: Request, hold: Hold, *, batch: bool) -> ClassifyRequest:
        """The images of `request`; with `batch` any number up to the limit, without it exactly one.

        `hold` is told of each chunk of the body. Raises `RequestError` when there is no image, or the body is too
        large, too slow, malformed or of an unknown type.
        """
        headers = context.get(request.scope).headers
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise RequestError("unsupported_media_type", "The body is compressed; send it without Content-Encoding.")
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        media_type = content_type.partition(";")[0].strip().lower()
        max_images = self._settings.max_images
        if media_type not in (_MULTIPART, _JSON) and (batch or not _is_raw(media_type)):
            raise _unsupported(media_type, batch)
        body = await receive(request, self._settings, hold)
        if _is_raw(media_type):
            return _to_classify_request({ONE: [body]}, request, 1, self._classes, batch)
        if len(body) <= _SMALL_BYTES:
            fields = _parse(body, content_type, media_type, max_images, batch)
        else:
            parse = functools.partial(_parse, body, content_type, media_type, max_images, batch)
            cost = Cost(_PARSING_BYTES[media_type] * len(body), _PARSING_SECONDS * len(body))
            fields = await self._offload(parse, cost)
        return _to_classify_request(fields, request, max_images, self._classes, batch)


async def receive(request: Request, settings: Settings, hold: Hold) -> bytes:
    """The whole body. Raises `RequestError` as soon as it is known to be larger than the limit, or late."""
    limit = settings.max_body_bytes
    declared = context.get(request.scope).headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    try:
        if context.has_body_arrived(request.scope):
            whole = await _receive_whole(request)
            if len(whole) > limit:
                raise _too_large(limit)
            hold(len(whole))
            return whole
        body = io.BytesIO()  # unlike a list of chunks it needs no copy at the end
        async with asyncio.timeout(settings.upload_time_limit):
            async for chunk in request.stream():
                if body.tell() + len(chunk) > limit:
                    raise _too_large(limit)
                hold(len(chunk))
                body.write(chunk)
        return body.getvalue()
    except ClientDisconnect as error:
        raise RequestError("malformed_request", "The body ended before its announced end.") from error
    except TimeoutError as error:
        message = f"The body did not arrive within {settings.upload_time_limit:g} seconds."
        raise RequestError("upload_too_slow", message) from error


async def _receive_whole(request: Request) -> bytes:
    """A body that has arrived: it is in one message, and waiting for it needs no timer."""
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    content: bytes = message["body"]
    return content


def disconnected(request: Request) -> Disconnected:
    """Waits until the client of a request whose body has been received is gone."""

    async def wait() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    return wait


def _parse(body: bytes, content_type: str, media_type: str, max_images: int, batch: bool) -> Fields:
    if media_type == _JSON:
        return json_body.parse(body, max_images, batch=batch, one=ONE, many=MANY)
    fields = multipart.parse(body, content_type, max_images, _MAX_TEXT_FIELDS)
    for name in (ONE, MANY):
        if name in fields and any(isinstance(value, str) for value in fields[name]):
            raise RequestError(
                "not_a_file",
                f"The field {name!r} holds text; send a file (curl -F {name}=@FILE). URLs are not fetched.",
            )
    return dict(fields)


def _to_classify_request(
    fields: Fields, request: Request, max_images: int, classes: int, batch: bool
) -> ClassifyRequest:
    images = fields.get(MANY, []) + fields.get(ONE, []) if batch else fields.get(ONE, [])
    limit = max_images if batch else 1
    if not images and not (batch and MANY in fields):
        name = MANY if batch else ONE
        raise RequestError("missing_image", f"There is no {name!r} in the body; curl sends one with -F {name}=@FILE.")
    if len(images) > limit:
        raise RequestError("too_many_images", f"At most {limit} image{'s' * (limit > 1)} in a request.")
    query = request.query_params.getlist(TOP_K) if request.scope["query_string"] else []
    given = [*query, *fields.get(TOP_K, [])]  # all must be valid; the last one counts
    top_k = [_to_top_k(value, classes) for value in given] or [min(DEFAULT_TOP_K, classes)]
    return ClassifyRequest(images, top_k[-1])


def _is_raw(media_type: str) -> bool:
    return media_type in ("", "application/octet-stream") or media_type.startswith("image/")


def _unsupported(media_type: str, batch: bool) -> RequestError:
    ways = f"{_MULTIPART} or {_JSON}" if batch else f"{_MULTIPART}, {_JSON} or the image itself as image/*"
    return RequestError(
        "unsupported_media_type", f"Content type {media_type[:80] or '(none)'!r} is not read here; send {ways}."
    )


def _too_large(limit: int) -> RequestError:
    return RequestError("body_too_large", f"The body is larger than {limit} bytes.")


def _to_top_k(value: Any, classes: int) -> int:
    limit = min(classes, MAX_TOP_K)
    if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= limit:
        raise RequestError("invalid_top_k", f"{TOP_K} must be an integer from 1 to {limit}.")
    return value
