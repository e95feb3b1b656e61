"""Request bodies to the bytes of images.

In: a multipart form (field `image`, or repeated `images`), the raw bytes of one image, or JSON with base64. Out: `Job`,
the images in order and how many classes are wanted. Bodies are counted and timed as they come; nothing is fetched from
anywhere, and nothing is written to disk.
"""

import asyncio
import base64
import binascii
import json
import re
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, Final

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from alexnet.errors import RequestError
from serving import fast_multipart
from serving.settings import Settings

ONE: Final = "image"
MANY: Final = "images"
TOP_K: Final = "top_k"
DEFAULT_TOP_K: Final = 5
MAX_TOP_K: Final = 10

_MULTIPART: Final = "multipart/form-data"
_JSON: Final = "application/json"
_MAX_FIELDS: Final = 16
_SMALL_FORM: Final = 262_144  # bytes that are read as a whole and then looked at


@dataclass(frozen=True)
class Job:
    """What a request asks for. An image that could not even be read stands as its error, in its own place."""

    images: list[bytes | RequestError]
    top_k: int


async def read_job(
    request: Request, settings: Settings, classes: int, add: Callable[[int], None], *, batch: bool
) -> Job:
    """The images of `request`; with `batch` any number up to the limit, without it exactly one.

    `add` is told of each chunk of the body, as by `MemoryBudget.hold`. Raises `RequestError` when there is no image, or
    the body is too large, too slow, malformed or of an unknown type.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RequestError("unsupported_media_type", "The body is compressed; send it without Content-Encoding.")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        async with asyncio.timeout(settings.upload_time_limit):
            if media_type == _MULTIPART:
                fields = await _read_form(request, settings, add)
            elif media_type == _JSON:
                fields = _read_json(await _read_all(request, settings, add), batch)
            elif _is_raw(media_type) and not batch:
                fields = {ONE: [await _read_all(request, settings, add)]}
            else:
                raise _unsupported(media_type, batch)
    except TimeoutError as error:
        raise RequestError(
            "upload_too_slow", f"The body did not arrive within {settings.upload_time_limit:g} seconds."
        ) from error
    images = fields.get(MANY, []) + fields.get(ONE, []) if batch else fields.get(ONE, [])
    if not images and not (batch and MANY in fields):
        name = MANY if batch else ONE
        raise RequestError("missing_image", f"There is no {name!r} in the body; curl sends one with -F {name}=@FILE.")
    if len(images) > (settings.max_images if batch else 1):
        raise _too_many(settings.max_images if batch else 1)
    given = fields.get(TOP_K) or request.query_params.getlist(TOP_K) or [min(DEFAULT_TOP_K, classes)]
    return Job([_to_bytes(image) for image in images], _to_top_k(given[-1], classes))


def _is_raw(media_type: str) -> bool:
    return media_type in ("", "application/octet-stream") or media_type.startswith("image/")


def _unsupported(media_type: str, batch: bool) -> RequestError:
    ways = f"{_MULTIPART} or {_JSON}" if batch else f"{_MULTIPART}, {_JSON} or the image itself as image/*"
    return RequestError(
        "unsupported_media_type", f"Content type {media_type[:80] or '(none)'!r} is not read here; send {ways}."
    )


def _too_many(limit: int) -> RequestError:
    return RequestError("too_many_images", f"At most {limit} image{'s' * (limit > 1)} in a request.")


async def _stream(request: Request, limit: int, add: Callable[[int], None]) -> AsyncGenerator[bytes, None]:
    """The body as it comes. Raises `RequestError` as soon as it is known to be larger than `limit` bytes."""
    error = RequestError("body_too_large", f"The body is larger than {limit} bytes.")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise error
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise error
            add(len(chunk))
            yield chunk
    except ClientDisconnect as gone:
        raise RequestError("malformed_request", "The body ended before its announced end.") from gone


async def _read_all(request: Request, settings: Settings, add: Callable[[int], None]) -> bytes:
    return b"".join([chunk async for chunk in _stream(request, settings.max_body_bytes, add)])


class _InMemory(MultiPartParser):
    """Starlette's parser, which would write large files to disk; the limit of the body bounds them here."""

    spool_max_size = 2**62
    ended = False

    def on_end(self) -> None:
        """Called at the last boundary. Without it a part is missing, perhaps an image, and nothing else tells so."""
        self.ended = True


async def _read_form(request: Request, settings: Settings, add: Callable[[int], None]) -> dict[str, list[Any]]:
    delimiter = fast_multipart.boundary(request.headers["content-type"])
    declared = request.headers.get("content-length", "")
    if delimiter and declared.isdecimal() and int(declared) <= _SMALL_FORM:
        body = await _read_all(request, settings, add)
        fields: Any = fast_multipart.read(body, delimiter, settings.max_images, _MAX_FIELDS)
        if fields is None:
            fields = await _parse_form(request, settings, _once(body))
    else:
        fields = await _parse_form(request, settings, _stream(request, settings.max_body_bytes, add))
    for name in (ONE, MANY):
        if any(isinstance(value, str) for value in fields.get(name, [])):
            raise RequestError(
                "not_a_file",
                f"The field {name!r} holds text; send a file (curl -F {name}=@FILE). URLs are not fetched.",
            )
    found: dict[str, list[Any]] = fields
    return found


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


async def _parse_form(
    request: Request, settings: Settings, chunks: AsyncGenerator[bytes, None]
) -> dict[str, list[Any]]:
    async def stream() -> AsyncGenerator[bytes, None]:
        async for chunk in chunks:
            yield chunk
        if not parser.ended:
            raise MultiPartException("It ends before its last boundary.")

    parser = _InMemory(request.headers, stream(), max_files=settings.max_images, max_fields=_MAX_FIELDS)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise _too_many(settings.max_images) from error
        raise RequestError("malformed_body", f"The multipart body cannot be read: {error.message}") from error
    except (KeyError, ValueError) as error:  # no boundary; a charset or a header that does not decode
        raise RequestError("malformed_body", "The multipart body cannot be read: its headers are damaged.") from error
    fields: dict[str, list[Any]] = {}
    for name, value in form.multi_items():
        fields.setdefault(name, []).append(await value.read() if isinstance(value, UploadFile) else value)
    await form.close()
    return fields


def _read_json(body: bytes, batch: bool) -> dict[str, list[Any]]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError("malformed_body", "The body is no valid JSON.") from error
    if batch and isinstance(value, list):
        value = {MANY: value}
    if not isinstance(value, dict):
        raise RequestError("malformed_body", f'The JSON must be an object, such as {{"{ONE}": "<base64>"}}.')
    many = value.get(MANY)
    if many is not None and not isinstance(many, list):
        raise RequestError("malformed_body", f"{MANY!r} must be a list of base64 texts.")
    fields = {name: [value[name]] for name in (ONE, TOP_K) if value.get(name) is not None}
    return fields if many is None else {**fields, MANY: many}


def _to_bytes(image: bytes | Any) -> bytes | RequestError:
    """Bytes as they are; base64, with or without a `data:` prefix, decoded."""
    if isinstance(image, bytes):
        return image
    if not isinstance(image, str):
        return RequestError("invalid_base64", "An image in JSON is a base64 text.")
    text = image.partition(",")[2] if image.startswith("data:") else image
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return RequestError("invalid_base64", "The image is no valid base64; send its bytes, never a URL.")


def _to_top_k(value: Any, classes: int) -> int:
    most = min(classes, MAX_TOP_K)
    if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise RequestError("invalid_top_k", f"{TOP_K} must be a whole number from 1 to {most}.")
    return value
