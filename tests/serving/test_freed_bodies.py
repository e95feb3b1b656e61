"""The body of a request is freed with its response, and does not wait for the garbage collector."""

import base64
import gc
import json
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.images import encode, photo
from tests.serving.conftest import App

SIZE = 1_000_000
REQUESTS = 5
TRAILING = encode(photo(), "PNG") + bytes(SIZE)  # decoded: what follows the end of a PNG file is not read
CUT = encode(photo(300, 300), "PNG")[:-20].ljust(SIZE, b"\0")
PART = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'


def _json(*images: bytes) -> bytes:
    return json.dumps({"images": [base64.b64encode(image).decode() for image in images]}).encode()


def _files(*images: bytes) -> dict[str, Any]:
    return {"files": [("images", image) for image in images]}


JSON = {"content-type": "application/json"}
REQUESTED = {
    "an image": ("/classify", 200, {"content": TRAILING}),
    "a damaged image": ("/classify", 422, {"content": CUT}),
    "no image": ("/classify", 415, {"content": bytes(SIZE)}),
    "a wrong content type": ("/classify", 415, {"content": bytes(SIZE), "headers": {"content-type": "text/plain"}}),
    "a wrong top_k": ("/classify?top_k=0", 400, {"content": TRAILING}),
    "a batch": ("/classify_batch", 200, _files(TRAILING, CUT, bytes(SIZE))),
    "a batch as JSON": ("/classify_batch", 200, {"content": _json(TRAILING, CUT), "headers": JSON}),
    "nested JSON": ("/classify", 400, {"content": b"[" + b"[]," * (SIZE // 3) + b"[]]", "headers": JSON}),
    "JSON cut short": ("/classify", 400, {"content": _json(TRAILING)[:-9], "headers": JSON}),
    "empty parts": (
        "/classify",
        400,
        {
            "content": PART * (SIZE // len(PART)) + b"--b--\r\n",
            "headers": {"content-type": "multipart/form-data; boundary=b"},
        },
    ),
    "a preview": ("/preview", 422, {"content": CUT}),
    "an explanation": ("/explain", 422, {"content": CUT}),
}


@pytest.fixture
def _no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    tracemalloc.start()
    yield
    tracemalloc.stop()
    gc.enable()


@pytest.mark.usefixtures("_no_collection")
@pytest.mark.parametrize("kind", REQUESTED)
def test_no_body_outlives_its_request(kind: str, make_app: Callable[..., App]) -> None:
    path, status, options = REQUESTED[kind]
    app = make_app()
    assert app.post(path, **options).status_code == status  # what is made once
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(REQUESTS):
        assert app.post(path, **options).status_code == status
    after, _ = tracemalloc.get_traced_memory()
    # The last body may still be held: the thread that parsed it drops it after its result is used.
    assert after - before < REQUESTS * SIZE / 2, "each request left its body behind"
