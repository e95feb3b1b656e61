"""Plain forms: read as the full parser reads them, and left to it wherever the two could differ."""

import asyncio
import random
from collections.abc import AsyncGenerator

import pytest
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from serving import fast_multipart

BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"
DELIMITER = b"--" + BOUNDARY.encode()


def part(name: str, content: bytes, filename: str | None = "a.png", kind: str = "\r\nContent-Type: image/png") -> bytes:
    file = "" if filename is None else f'; filename="{filename}"'
    head = f'Content-Disposition: form-data; name="{name}"{file}{kind if filename is not None else ""}'
    return DELIMITER + b"\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + DELIMITER + b"--\r\n"


def parse(body: bytes) -> fast_multipart.Fields | None:
    """What Starlette's parser makes of it; None for an error."""

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    class Parser(MultiPartParser):
        ended = False

        def on_end(self) -> None:
            self.ended = True

    async def run() -> fast_multipart.Fields | None:
        parser = Parser(Headers({"content-type": TYPE}), stream())
        found: fast_multipart.Fields = {}
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
    form(part("image", b"\x89PNG\r\n\x1a\n\x00\xff--x")),
    form(part("image", b"", filename="")),
    form(part("images", b"one"), part("images", b"--two\r\n"), part("top_k", b"3", filename=None)),
    form(part("image", b"x" * 300, kind="")),
)


@pytest.mark.parametrize("body", SEEDS)
def test_a_plain_form_is_read_as_the_parser_reads_it(body: bytes) -> None:
    for whole in (body, body.removesuffix(b"\r\n")):
        found = fast_multipart.read(whole, DELIMITER, 64, 16)
        assert found is not None
        assert found == parse(whole)


def test_what_curl_and_browsers_say_is_plain_and_all_else_is_not() -> None:
    assert fast_multipart.boundary(TYPE) == DELIMITER
    assert fast_multipart.boundary("multipart/form-data;boundary=x") == b"--x"
    for other in ('multipart/form-data; boundary="x"', "multipart/form-data", TYPE + "; charset=utf-16", TYPE + "\n"):
        assert fast_multipart.boundary(other) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"preamble\r\n" + SEEDS[0],
        SEEDS[0] + b"epilogue",
        SEEDS[0].replace(b"--\r\n", b"\r\n"),
        form(part("image", b"x" + b"\r\n" + DELIMITER + b"tail")),
        form(part("im\u00e4ge", b"x")),
        form(part("image", b"x", filename='a"; name="other')),
        form(part("image", b"x", kind="\r\nContent-Type: text/plain; charset=utf-16")),
        form(part("image", b"x", kind="\r\nContent-Transfer-Encoding: base64")),
        form(part("top_k", "\u0663".encode(), filename=None)),
        DELIMITER + b"\r\n" + DELIMITER + b"--\r\n",
    ],
)
def test_anything_unusual_is_left_to_the_parser(body: bytes) -> None:
    assert fast_multipart.read(body, DELIMITER, 64, 16) is None


def test_too_many_parts_are_left_to_the_parser() -> None:
    many = form(*[part("images", b"x")] * 3, *[part("top_k", b"1", filename=None)] * 2)
    assert fast_multipart.read(many, DELIMITER, 3, 2) is not None
    assert fast_multipart.read(many, DELIMITER, 2, 2) is None
    assert fast_multipart.read(many, DELIMITER, 3, 1) is None


def test_thousands_of_damaged_forms_are_read_as_the_parser_reads_them_or_left_to_it() -> None:
    rng, plain = random.Random(0), 0
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
    for _ in range(4_000):
        body = bytearray(rng.choice(SEEDS))
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(body) + 1)
            if rng.random() < 0.5:
                body[at:at] = rng.choice(pieces)
            else:
                del body[at : at + rng.randint(1, 4)]
        found = fast_multipart.read(bytes(body), DELIMITER, 64, 16)
        if found is not None:
            plain += 1
            assert found == parse(bytes(body)), bytes(body)
    assert plain > 400
