"""Broken images and broken requests, made of whole ones by a seeded generator.

In: a `random.Random`. Out: bytes of images, and `Sent`, a request for aiohttp.
"""

import base64
import io
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from PIL import Image

from alexnet.paths import ROOT

FIXTURE: Final = ROOT / "tests" / "data" / "cifar10"
_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
_MODES: Final = ("RGB", "L", "P", "RGBA", "CMYK", "1")
_TYPES: Final = ("image/jpeg", "image/png", "text/plain", "application/json", "application/octet-stream", "", "image/")
_PATHS: Final = ("/classify", "/classify_batch")
_QUERIES: Final = ("", "", "?top_k=3", "?top_k=0", "?top_k=%00", "?top_k=9999999999999999999999", "?top_k=\u0663")
_OTHER_PATHS: Final = (
    "/classify",
    "/",
    "/nothing",
    "/model",
    "/ui",
    "/ui/../x",
    "/%2e%2e/etc",
    "/readyz/",
    "/metrics",
    "/schema.json",
)
_ODD_VALUES: Final[tuple[Any, ...]] = (None, 7, [], {})  # of JSON, where an image should be
_EXTREMES: Final = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\0\0\x80\0")


@dataclass(frozen=True)
class Sent:
    """Method, path, body and headers of a request."""

    method: str
    path: str
    data: Any = None
    headers: dict[str, str] = field(default_factory=dict)


def seeds() -> list[bytes]:
    """Whole images in every format and several modes: what the fuzzer begins with."""
    images = [Image.open(path) for path in sorted(FIXTURE.glob("*/*.png"))[::20]]
    images.append(images[0].resize((300, 200)))  # type: ignore[arg-type] # an Image is no ImageFile
    found = []
    for image in images:
        for name in _FORMATS:
            for mode in _MODES:
                buffer = io.BytesIO()
                try:
                    image.convert(mode).save(buffer, name)
                except (OSError, ValueError):
                    continue  # the format has no such mode
                found.append(buffer.getvalue())
    return found


def mutate(content: bytes, other: bytes, rng: random.Random) -> bytes:
    """`content` with one to eight changes: bits, bytes, cuts, repeated and foreign pieces, extreme integers."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        if not data or not other:
            break
        at = rng.randrange(len(data)) if rng.random() < 0.5 else rng.randrange(min(len(data), 64))
        match rng.randrange(7):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF))
            case 2:
                del data[at:]
            case 3:
                del data[at : at + rng.randint(1, 64)]
            case 4:
                data[at:at] = data[at : at + rng.randint(1, 64)]
            case 5:
                start = rng.randrange(len(other))
                data[at : at + 32] = other[start : start + rng.randint(1, 64)]
            case _:
                data[at : at + 4] = rng.choice(_EXTREMES)
    return bytes(data)


def request(rng: random.Random, corpus: Sequence[bytes]) -> Sent:
    """A mutated image in a valid request, or an image in a mutated request."""
    image = rng.choice(corpus)
    if rng.random() < 0.9:
        image = mutate(image, rng.choice(corpus), rng)
    if rng.random() < 0.6:  # valid, so that the image reaches the decoder
        return rng.choice((_valid_form, _valid_body, _valid_json))(image)
    path = rng.choice(_PATHS) + rng.choice(_QUERIES)
    broken: tuple[Callable[[random.Random, str, bytes], Sent], ...] = (_form, _body, _json, _multipart, _route)
    return rng.choice(broken)(rng, path, image)


def _valid_form(image: bytes) -> Sent:
    form = aiohttp.FormData()
    form.add_field("image", image, filename="a.png")
    return Sent("POST", "/classify", form)


def _valid_body(image: bytes) -> Sent:
    return Sent("POST", "/classify", image, {"Content-Type": "image/jpeg"})


def _valid_json(image: bytes) -> Sent:
    body = json.dumps({"image": base64.b64encode(image).decode()}).encode()
    return Sent("POST", "/classify", body, {"Content-Type": "application/json"})


def _form(rng: random.Random, path: str, image: bytes) -> Sent:
    field_name = rng.choice(("image", "images", "IMAGE", "", "a" * 300))
    form = aiohttp.FormData(quote_fields=True)
    for _ in range(rng.choice((1, 1, 1, 2, 5, 80))):
        filename = rng.choice(("a.png", "", "\u202e", "../../x"))
        form.add_field(field_name, image, filename=filename, content_type="image/png")
    if rng.random() < 0.3:
        form.add_field("top_k", rng.choice(("1", "10", "11", "-1", "NaN", "[]", "")))
    return Sent("POST", path, form)


def _body(rng: random.Random, path: str, image: bytes) -> Sent:
    kind = rng.choice(("image/jpeg", "image/webp", "application/octet-stream", rng.choice(_TYPES)))
    return Sent("POST", path, image, {"Content-Type": kind})


def _json(rng: random.Random, path: str, image: bytes) -> Sent:
    text = base64.b64encode(image).decode()
    value = rng.choice((text, f"data:image/png;base64,{text}", text[:-1], "http://127.0.0.1:1/x.png", *_ODD_VALUES))
    body: Any = rng.choice(({"image": value}, {"images": [value] * rng.choice((0, 1, 3, 70))}, [value], value))
    if isinstance(body, dict):
        body["top_k"] = rng.choice((1, 10, 0, -5, 1e308, True, None, "3", [], {}))
    content = json.dumps(body).encode()
    if rng.random() < 0.4:
        content = mutate(content, b'{"[\\u0000' * 8, rng)
    return Sent("POST", path.partition("?")[0], content, {"Content-Type": "application/json"})


def _multipart(rng: random.Random, path: str, image: bytes) -> Sent:
    boundary = rng.choice(("b", "b" * 70, "-", "b; x=y"))
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    content = mutate(head + image[:512] + b"\r\n--b--\r\n", image, rng)
    kinds = (f"multipart/form-data; boundary={boundary}", "multipart/form-data", "multipart/mixed; boundary=b")
    return Sent("POST", path, content, {"Content-Type": rng.choice(kinds)})


def _route(rng: random.Random, _: str, image: bytes) -> Sent:
    method = rng.choice(("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "POST", "BREW"))
    return Sent(method, rng.choice(_OTHER_PATHS), image[:100] if method in ("PUT", "PATCH", "POST") else None)
