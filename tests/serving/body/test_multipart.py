"""Multipart forms: read as Starlette's parser reads them, and refused where RFC 2046 and RFC 7578 leave no meaning."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from serving.body import multipart
from serving.errors import RequestError

BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"
DELIMITER = b"--" + BOUNDARY.encode()
PNG = "\r\nContent-Type: image/png"


def part(head: str, content: bytes) -> bytes:
    return DELIMITER + b"\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + DELIMITER + b"--\r\n"


def parse(body: bytes, content_type: str = TYPE, files: int = 64, texts: int = 16) -> multipart.Fields:
    return multipart.parse(body, content_type, files, texts)


def code_of(*arguments: Any, **options: Any) -> str:
    with pytest.raises(RequestError) as caught:
        parse(*arguments, **options)
    return caught.value.code


def starlette(body: bytes) -> multipart.Fields | None:
    """What Starlette's parser makes of it; None for an error."""

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    class Parser(MultiPartParser):
        ended = False

        def on_end(self) -> None:
            self.ended = True

    async def run() -> multipart.Fields | None:
        parser = Parser(Headers({"content-type": TYPE}), stream())
        found: multipart.Fields = {}
        try:
            data = await parser.parse()
        except (MultiPartException, KeyError, ValueError):
            return None
        if not parser.ended:
            return None
        for name, value in data.multi_items():
            found.setdefault(name, []).append(await value.read() if isinstance(value, UploadFile) else value)
        return found

    return asyncio.run(run())


SEEDS = (
    form(part('name="image"; filename="a.png"' + PNG, b"\x89PNG\r\n\x1a\n\x00\xff--x")),
    form(part('name="image"; filename=""', b"")),
    form(
        part('name="images"; filename="a"', b"one"),
        part('name="images"; filename="b"', b"--two\r\n"),
        part('name="top_k"', b"3"),
    ),
    form(part('filename="a.png"; name=image' + PNG + "\r\nContent-Length: 3", b"xyz")),
    form(part('name="im\u00e4ge"; filename="\u00fc.png"', b"x" * 300)),
)


@pytest.mark.parametrize("body", SEEDS)
def test_forms_are_read_as_starlette_reads_them(body: bytes) -> None:
    for whole in (body, body.removesuffix(b"\r\n"), body + b"epilogue"):
        assert parse(whole) == starlette(whole) is not None


def contents(fields: multipart.Fields) -> list[bytes]:
    """All values; whether one is a file is another question: Starlette asks for a file name."""
    return [value if isinstance(value, bytes) else value.encode() for values in fields.values() for value in values]


def test_thousands_of_damaged_forms_are_read_alike_or_refused() -> None:
    """Where both give fields they are the same; ours may refuse more, and never gives other bytes."""
    rng, read = random.Random(0), 0
    pieces = (
        b"\r\n",
        b"--",
        DELIMITER,
        b"\r\n" + DELIMITER,
        b'"',
        b";",
        b"\r\n\r\n",
        b"\0",
        b"\xff",
        b"name=",
        b":",
        b" ",
    )
    for _ in range(3_000):
        body = bytearray(rng.choice(SEEDS))
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(body) + 1)
            if rng.random() < 0.5:
                body[at:at] = rng.choice(pieces)
            else:
                del body[at : at + rng.randint(1, 4)]
        try:
            found = parse(bytes(body))
        except RequestError:
            continue
        other = starlette(bytes(body))
        if other is None:
            continue
        texts = [value for fields in (found, other) for values in fields.values() for value in values]
        if all(isinstance(value, bytes) or value.isascii() for value in texts):  # else replaced, or read as Latin-1
            read += 1
            assert contents(found) == contents(other), bytes(body)
    assert read > 300


# --- what is a file (RFC 7578)


@pytest.mark.parametrize(
    "head",
    [
        'name="image"; filename="a.png"',
        'name="image"; filename=""',
        "name=image; filename=a.png",
        "name=\"image\"; filename*=UTF-8''%e2%82%ac.png",
        "name=\"image\"; filename*=UTF-8''a.png" + PNG,
        'name="image"' + PNG,
        'name="image"\r\ncontent-type: IMAGE/jpeg; q=1',
        'name="image"\r\nContent-Type: application/octet-stream',
        'name="image"; filename="a\\"b.png"',
        'name="image"; filename="C:\\dir\\"',
        'NAME="image"; FileName="x"',
    ],
)
def test_a_file_name_in_any_form_or_an_images_content_type_makes_a_file(head: str) -> None:
    assert parse(form(part(head, b"\xff\xd8"))) == {"image": [b"\xff\xd8"]}


@pytest.mark.parametrize(
    "head", ['name="top_k"', 'name="top_k"\r\nContent-Type: text/plain; charset=utf-8', "name=top_k"]
)
def test_anything_else_is_a_text(head: str) -> None:
    assert parse(form(part(head, b"3"))) == {"top_k": ["3"]}


# --- boundaries and limits


@pytest.mark.parametrize(
    "content_type",
    [
        'multipart/form-data; boundary="simple"',
        "multipart/form-data; charset=utf-8; boundary=simple",
        "multipart/form-data;boundary=simple",
        "Multipart/Form-Data; BOUNDARY=simple",
    ],
)
def test_the_boundary_is_a_parameter_like_any_other(content_type: str) -> None:
    body = b'--simple\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nx\r\n--simple--'
    assert parse(body, content_type) == {"image": [b"x"]}
    assert parse(b"preamble\r\n" + body, content_type) == {"image": [b"x"]}
    spaced = body.replace(b"--simple\r\n", b"--simple \t\r\n")
    assert parse(spaced, content_type) == {"image": [b"x"]}


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=", TYPE + "x" * 300])
def test_without_a_valid_boundary_it_is_malformed(content_type: str) -> None:
    assert code_of(SEEDS[0], content_type) == "malformed_body"


def test_a_line_that_goes_on_after_the_boundary_is_no_content() -> None:
    body = form(part('name="image"; filename="a"', b"x\r\n" + DELIMITER + b"tail\r\ny"))
    assert code_of(body) == "malformed_body"


def test_the_numbers_of_files_and_texts_are_limited() -> None:
    file, text = part('name="images"; filename="a"', b"x"), part('name="top_k"', b"1")
    assert len(parse(form(file, file, text), files=2, texts=1)["images"]) == 2
    assert code_of(form(file, file, file), files=2) == "too_many_images"
    assert code_of(form(text, text), texts=1) == "malformed_body"


def test_millions_of_tiny_parts_and_long_headers_cost_almost_nothing() -> None:
    tiny = form(*[part('name="a"', b"")] * 100_000)
    long = form(part('name="a"; ' + "x=1; " * 1_000_000, b""))
    many = form(part('name="a"\r\n' + "X: y\r\n" * 1_000_000, b""))
    for body in (tiny, long, many):
        started = time.perf_counter()
        assert code_of(body) == "malformed_body"
        assert time.perf_counter() - started < 0.5
