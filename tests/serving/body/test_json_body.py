"""JSON bodies: what parsing costs is bounded before it starts."""

import base64
import json
import time

import pytest

from serving.body import json_body
from serving.errors import RequestError

IMAGE = bytes(range(256)) * 3


def parse(body: bytes, max_images: int = 64) -> json_body.Fields:
    return json_body.parse(body, max_images, batch=True, one="image", many="images")


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"[]," * 3_300_000 + b"[]]",
        b"[" * 9_900_000,
        b'{"a":' * 1_900_000,
        b"[" + b"0," * 4_900_000 + b"0]",
        b'{"image": "' + "é".encode() * 4_900_000 + b'"}',
        b'{"image": "' + "🐱".encode() + b"A" * 9_900_000 + b'"}',
    ],
)
def test_ten_megabytes_that_no_client_needs_are_refused_unparsed(body: bytes) -> None:
    started = time.perf_counter()
    with pytest.raises(RequestError) as caught:
        parse(body)
    assert caught.value.code == "malformed_body"
    assert time.perf_counter() - started < 0.5  # parsed, the first would take seconds


def test_as_many_images_as_a_request_may_hold_are_read_in_every_spelling() -> None:
    text = base64.b64encode(IMAGE).decode()
    lines = "\n".join(text[place : place + 76] for place in range(0, len(text), 76))
    spellings = (text, f"data:image/png;base64,{text}", lines, f" {text}\t\r\n")
    images = [spellings[number % 4] for number in range(64)]
    body = json.dumps({"images": images, "top_k": 3}).encode()
    assert parse(body) == {"images": [IMAGE] * 64, "top_k": [3]}


def test_a_small_body_need_not_be_ascii() -> None:
    body = json.dumps({"image": "AAAA", "note": "é🐱"}, ensure_ascii=False).encode()
    assert parse(body)["image"] == [b"\0\0\0"]
    assert parse(json.dumps({"image": "AAAA"}).encode("utf-16"))["image"] == [b"\0\0\0"]
