"""The hostile clients of `attack`: each is expensive for a server that does not bound its work.

In: the service's port and when to stop. Out: nothing; whatever the service answers is right as long as the others are
served. Every client runs in a process of its own, so that its work does not delay the ordinary clients.
"""

import asyncio
import base64
import contextlib
import io
import json
import multiprocessing
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Final

from PIL import Image

_MEGABYTE: Final = 1_000_000
_BODY_BYTES: Final = 9_900_000  # just below ALEXNET_MAX_BODY_BYTES
_PAUSE: Final = 0.01  # after a refused or broken connection


@dataclass(frozen=True)
class Attack:
    """What a hostile client sends, `clients` at once; `request` makes the whole HTTP request, `send` sends it."""

    name: str
    clients: int
    request: Callable[[], bytes]
    send: Callable[["Connection", bytes], Awaitable[None]]


class Connection:
    """One TCP connection to the service."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def write(self, data: bytes) -> None:
        """Send `data`, as fast as it is taken."""
        self.writer.write(data)
        await self.writer.drain()


async def _whole(connection: Connection, request: bytes) -> None:
    """Send everything and wait for the response."""
    await connection.write(request)
    await connection.reader.read()


async def _and_leave(connection: Connection, request: bytes) -> None:
    """Send everything and close the connection without waiting."""
    await connection.write(request)


async def _and_hold(connection: Connection, request: bytes) -> None:
    """Send all but the last byte, so that the service holds the body."""
    await connection.write(request[:-1])
    await connection.reader.read()


async def _in_chunks(connection: Connection, request: bytes) -> None:
    """Send the body in chunks of one byte."""
    head, _, body = request.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
    await connection.write(b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", b""]))
    for start in range(0, len(body), 2_000):
        await connection.write(b"".join(b"1\r\n%c\r\n" % byte for byte in body[start : start + 2_000]))


def post(path: str, kind: str, body: bytes) -> bytes:
    """The bytes of a POST request whose connection is closed after the response."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@cache
def _image(kind: str, side: int) -> bytes:
    """A grey image, small as a file."""
    file = io.BytesIO()
    options = {"WEBP": {"lossless": True}, "JPEG": {"progressive": True}}.get(kind, {})
    Image.new("RGB", (side, side), (128, 128, 128)).save(file, kind, **options)
    return file.getvalue()


def _large_webp() -> bytes:
    return post("/classify", "image/webp", _image("WEBP", 7_900))


def _batch_of_large_webp() -> bytes:
    text = base64.b64encode(_image("WEBP", 7_900)).decode()
    return post("/classify_batch", "application/json", json.dumps({"images": [text] * 64}).encode())


def _large_png() -> bytes:
    return post("/classify", "image/png", _image("PNG", 7_000))


def _many_scans() -> bytes:
    image = _image("JPEG", 2_000)
    last = image.rindex(b"\xff\xda")
    return post("/classify", "image/jpeg", image[:last] + image[last:-2] * 800 + image[-2:])


def _nested_json() -> bytes:
    return post("/classify", "application/json", b"[" + b"[]," * (_BODY_BYTES // 3) + b"[]]")


def _tiny_parts() -> bytes:
    part = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'
    return post("/classify", "multipart/form-data; boundary=b", part * (_BODY_BYTES // len(part)) + b"--b--\r\n")


def _large_body() -> bytes:
    return post("/classify", "image/png", _image("PNG", 32) + bytes(_BODY_BYTES))


ATTACKS: Final = (
    Attack("62-megapixel lossless WebP of a few hundred bytes", 4, _large_webp, _whole),
    Attack("64 of them in one batch", 2, _batch_of_large_webp, _whole),
    Attack("JPEG with 800 progressive scans", 4, _many_scans, _whole),
    Attack("49-megapixel PNG from clients that leave", 8, _large_png, _and_leave),
    Attack("10 MB of nested JSON arrays", 4, _nested_json, _whole),
    Attack("10 MB of empty form parts", 4, _tiny_parts, _whole),
    Attack("bodies in chunks of one byte", 2, _large_body, _in_chunks),
    Attack("50 bodies of 10 MB that never end", 50, _large_body, _and_hold),
)


@contextmanager
def attacking(attack: Attack, port: int, seconds: float) -> Iterator[None]:
    """`attack` from another process while the block runs, for at most `seconds`."""
    place = ATTACKS.index(attack)
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(place, port, seconds), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def _run(place: int, port: int, seconds: float) -> None:
    attack = ATTACKS[place]
    request, until = attack.request(), time.monotonic() + seconds

    async def client() -> None:
        while time.monotonic() < until:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(60):
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    try:
                        await attack.send(Connection(reader, writer), request)
                    finally:
                        writer.close()
            await asyncio.sleep(_PAUSE)

    async def clients() -> None:
        await asyncio.gather(*(client() for _ in range(attack.clients)))

    asyncio.run(clients())
