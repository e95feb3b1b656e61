"""Request bodies to bytes of images: every way in, what is wrong with a body, and that it is counted as it comes."""

import asyncio
import base64
import json
import tempfile
import tracemalloc
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from starlette.requests import Request

from alexnet.inference.prediction import DEFAULT_TOP_K
from serving import context
from serving.body.request import BodyReader
from serving.errors import RequestError
from serving.inference.pipeline import ClassifyRequest
from serving.inference.scheduler import Cost
from serving.limits import MemoryBudget
from serving.settings import Settings

CLASSES = 10
IMAGE_FILE = bytes(range(256)) * 3
BOUNDARY = "frontier"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
SETTINGS = Settings(max_body_bytes=10_000, max_images=4, upload_time_limit=5)


def part(name: str, content: bytes, filename: str | None = "a.jpg", media_type: str = "image/jpeg") -> bytes:
    """A part of a multipart form; without `filename` it is text."""
    file = f'; filename="{filename}"\r\nContent-Type: {media_type}' if filename is not None else ""
    return (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode("latin-1")
        + content
        + b"\r\n"
    )


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def encoded(content: bytes = IMAGE_FILE) -> str:
    return base64.b64encode(content).decode()


def budget(held: int) -> MemoryBudget:
    """Room for bodies of so many bytes together."""
    return MemoryBudget(held + 100_000_000, held)


def read(
    chunks: bytes | Iterable[bytes],
    media_type: str | None,
    *,
    batch: bool = False,
    classes: int = CLASSES,
    query: str = "",
    settings: Settings = SETTINGS,
    headers: dict[str, str] | None = None,
    chunk_seconds: float = 0,
    ends: bool = True,
    memory: MemoryBudget | None = None,
) -> ClassifyRequest:
    """What `BodyReader` makes of a body that comes in these chunks; without `ends` the client hangs up after them."""
    received = iter([chunks] if isinstance(chunks, bytes) else chunks)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(chunk_seconds)
        try:
            return {"type": "http.request", "body": next(received), "more_body": True}
        except StopIteration:
            return {"type": "http.request", "body": b"", "more_body": False} if ends else {"type": "http.disconnect"}

    given = {**({} if media_type is None else {"content-type": media_type}), **(headers or {})}
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/classify",
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
    }
    context.start(scope, "/classify")
    reader = BodyReader(settings, classes, offload)
    with (memory or budget(settings.max_body_bytes)).hold() as hold:
        return asyncio.run(reader.read(Request(scope, receive), hold, batch=batch))


async def offload(parse: Callable[[], Any], _: Cost) -> Any:
    return await asyncio.to_thread(parse)


def refused(*arguments: Any, **options: Any) -> str:
    with pytest.raises(RequestError) as caught:
        read(*arguments, **options)
    return caught.value.code


def codes(job: ClassifyRequest) -> list[str | None]:
    """Of each image the code of its error; None where there are bytes."""
    return [image.code if isinstance(image, RequestError) else None for image in job.images]


@pytest.mark.parametrize(
    "media_type",
    [
        None,
        "",
        "image/jpeg",
        "image/png",
        "image/jpg",
        "image/pjpeg",
        "image/x-nonsense",
        "IMAGE/JPEG; q=1",
        "application/octet-stream",
    ],
)
def test_the_raw_body_is_one_image_whatever_its_label(media_type: str | None) -> None:
    assert read(IMAGE_FILE, media_type) == ClassifyRequest([IMAGE_FILE], DEFAULT_TOP_K)


@pytest.mark.parametrize("label", ["image/jpeg", "image/png", "text/plain", "application/json", "", "nonsense"])
@pytest.mark.parametrize("filename", ["cat.jpg", "cat.txt", "", "../../etc/passwd", "ünïcode.png", "a" * 500])
def test_a_form_holds_the_same_bytes_whatever_its_labels(label: str, filename: str) -> None:
    body = form(part("image", IMAGE_FILE, filename, label))
    assert read(body, FORM).images == [IMAGE_FILE]


@pytest.mark.parametrize(
    "text",
    [
        encoded(),
        "data:image/png;base64," + encoded(),
        "data:;base64," + encoded(),
        "\n".join(encoded()[place : place + 76] for place in range(0, len(encoded()), 76)),
        "  " + encoded() + "\r\n",
    ],
)
def test_base64_in_json_holds_the_same_bytes_with_or_without_a_prefix(text: str) -> None:
    assert read(json.dumps({"image": text}).encode(), "application/json; charset=utf-8").images == [IMAGE_FILE]


@pytest.mark.parametrize("size", [1, 7, 4_096])
def test_it_does_not_matter_how_the_body_is_cut(size: int) -> None:
    for body, media_type in (
        (form(part("image", IMAGE_FILE)), FORM),
        (IMAGE_FILE, "image/png"),
        (json.dumps({"image": encoded()}).encode(), "application/json"),
    ):
        pieces = [body[place : place + size] for place in range(0, len(body), size)]
        assert read(pieces, media_type).images == [IMAGE_FILE]


@pytest.mark.parametrize(
    "media_type",
    [
        "application/x-python-pickle",
        "application/vnd.bentoml+pickle",
        "application/vnd.bentoml.io+pickle",
        "application/pickle",
        "text/plain",
        "text/html",
        "application/x-www-form-urlencoded",
        "multipart/mixed; boundary=x",
        "application/xml",
        "application/vnd.bentoml.tensor",
        "nonsense",
        "*/*",
    ],
)
@pytest.mark.parametrize("batch", [False, True])
def test_pickle_and_all_other_content_types_are_refused_unread(media_type: str, batch: bool) -> None:
    def explode() -> Iterable[bytes]:
        raise AssertionError("the body was read")
        yield b""

    assert refused(explode(), media_type, batch=batch) == "unsupported_media_type"


def test_a_batch_is_no_raw_body() -> None:
    assert refused(IMAGE_FILE, "image/jpeg", batch=True) == "unsupported_media_type"


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "gzip, identity", "x"])
def test_a_compressed_body_is_refused(encoding: str) -> None:
    assert refused(IMAGE_FILE, "image/png", headers={"content-encoding": encoding}) == "unsupported_media_type"
    assert read(IMAGE_FILE, "image/png", headers={"content-encoding": "identity"}).images == [IMAGE_FILE]


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:1/cat.jpg",
        "https://example.com/cat.jpg",
        "file:///etc/passwd",
        "ftp://x/y",
        "this is a cat",
        "",
    ],
)
def test_a_url_or_text_in_the_image_field_is_never_fetched(text: str) -> None:
    assert refused(form(part("image", text.encode(), filename=None)), FORM) == "not_a_file"
    assert refused(form(part("images", text.encode(), filename=None)), FORM, batch=True) == "not_a_file"
    job = read(json.dumps({"image": text}).encode(), "application/json")
    assert codes(job) == ["invalid_base64"] if text else job.images == [b""]


@pytest.mark.parametrize("value", ["%%%%", "AAA", "A", "data:image/png;base64,%%", "é" * 8, "data:", "AAAA=AAA"])
def test_what_is_no_base64_is_an_error_in_its_own_place(value: str) -> None:
    body = json.dumps([encoded(), value, encoded(b"x")]).encode()
    job = read(body, "application/json", batch=True)
    assert codes(job) == [None, "invalid_base64" if value != "data:" else None, None]
    assert job.images[::2] == [IMAGE_FILE, b"x"]


@pytest.mark.parametrize("value", [7, True, [], {}, 1.5, None])
def test_a_value_that_is_no_text_is_an_error_in_its_own_place(value: Any) -> None:
    job = read(json.dumps({"images": [value, encoded()]}).encode(), "application/json", batch=True)
    assert codes(job) == ["invalid_base64", None]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"image": ',
        b"\xff\xfe",
        b"7",
        b'"text"',
        b"null",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"1" * 5_000,
        b'["x"]',
        b'{"images": "x"}',
        b'{"images": {}}',
    ],
)
def test_json_that_is_none_or_of_another_shape_is_malformed(body: bytes) -> None:
    settings = Settings(max_body_bytes=1_000_000)
    assert refused(body, "application/json", settings=settings) == "malformed_body"


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b"", FORM),
        (b"nonsense", FORM),
        (form(part("image", IMAGE_FILE), part("image", IMAGE_FILE))[:-20], FORM),
        (form(part("image", IMAGE_FILE)), "multipart/form-data"),
        (form(part("image", IMAGE_FILE)), "multipart/form-data; boundary="),
        (form(part("image", IMAGE_FILE)), "multipart/form-data; boundary=other"),
        (b"--frontier\r\nContent-Disposition: form-data\r\n\r\nx\r\n--frontier--\r\n", FORM),
        (b"--frontier\r\nnonsense\r\n\r\nx\r\n--frontier--\r\n", FORM),
        (b"--frontier\r\n\r\nx\r\n--frontier--\r\n", FORM),
    ],
)
def test_a_form_that_is_none_is_malformed(body: bytes, media_type: str) -> None:
    assert refused(body, media_type) == "malformed_body"


def test_a_form_that_was_cut_loses_no_image_silently() -> None:
    whole = form(*(part("images", content) for content in (b"first", b"second")))
    for end in range(len(whole) - 2):
        assert refused(whole[:end], FORM, batch=True) == "malformed_body"


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (form(part("photo", IMAGE_FILE)), FORM),
        (form(part("IMAGE", IMAGE_FILE)), FORM),
        (form(part("top_k", b"3", None)), FORM),
        (form(part("\xff", b"\xff\xfe", None)), FORM + "; charset=utf-16"),
        (b"{}", "application/json"),
        (b'{"image": null}', "application/json"),
        (b'{"img": "AAAA"}', "application/json"),
    ],
)
def test_a_body_without_an_image_says_so(body: bytes, media_type: str) -> None:
    assert refused(body, media_type) == "missing_image"
    assert refused(body, media_type, batch=True) == "missing_image"


def test_an_empty_list_is_an_empty_batch() -> None:
    assert read(b"[]", "application/json", batch=True).images == []
    assert read(b'{"images": []}', "application/json", batch=True).images == []


def test_a_batch_keeps_its_order_by_form_and_by_json() -> None:
    contents = [b"first", b"second", b"third"]
    body = form(*(part("images", content) for content in contents))
    assert read(body, FORM, batch=True).images == contents
    listed = [encoded(content) for content in contents]
    assert read(json.dumps(listed).encode(), "application/json", batch=True).images == contents
    assert read(json.dumps({"images": listed}).encode(), "application/json", batch=True).images == contents


def test_as_many_images_as_the_limit_and_no_more() -> None:
    assert len(read(form(*[part("images", b"x")] * 4), FORM, batch=True).images) == 4
    assert refused(form(*[part("images", b"x")] * 5), FORM, batch=True) == "too_many_images"
    listed = [encoded(b"x")] * 4
    assert len(read(json.dumps(listed).encode(), "application/json", batch=True).images) == 4
    with pytest.raises(RequestError, match="At most 4 images"):
        read(json.dumps([*listed, ""]).encode(), "application/json", batch=True)


def test_two_images_are_too_many_where_one_is_expected() -> None:
    assert refused(form(part("image", b"x"), part("image", b"y")), FORM) == "too_many_images"


def test_many_fields_in_a_form_are_refused() -> None:
    assert refused(form(*[part("a", b"x", None)] * 40, part("image", b"y")), FORM) == "malformed_body"


@pytest.mark.parametrize("value", [1, 3, 10])
def test_top_k_in_every_way_in(value: int) -> None:
    text = str(value).encode()
    assert read(IMAGE_FILE, "image/png", query=f"top_k={value}").top_k == value
    assert read(form(part("image", IMAGE_FILE)), FORM, query=f"top_k={value}").top_k == value
    assert read(form(part("image", IMAGE_FILE), part("top_k", text, None)), FORM).top_k == value
    assert read(json.dumps({"image": encoded(), "top_k": value}).encode(), "application/json").top_k == value
    assert read(json.dumps([encoded()]).encode(), "application/json", query=f"top_k={value}", batch=True).top_k == value
    body = json.dumps({"images": [encoded()], "top_k": value}).encode()
    assert read(body, "application/json", batch=True).top_k == value


@pytest.mark.parametrize("value", ["0", "11", "-1", "", "x", "1.5", "1e1", "NaN", "9" * 5_000, "1_0", "٣", "0x3", "+3"])
def test_a_top_k_out_of_bounds_is_refused_in_every_way_in(value: str) -> None:
    settings = Settings(max_body_bytes=100_000)
    body = form(part("image", IMAGE_FILE), part("top_k", value.encode(), None))
    assert refused(body, FORM, settings=settings) == "invalid_top_k"
    assert refused(IMAGE_FILE, "image/png", query=f"top_k={value}", settings=settings) == "invalid_top_k"


@pytest.mark.parametrize("value", [0, 11, -1, 1.5, True, [], {}, "x", 10**400, 1e308])
def test_a_top_k_out_of_bounds_is_refused_in_json(value: Any) -> None:
    body = json.dumps({"image": encoded(), "top_k": value}).encode()
    assert refused(body, "application/json") == "invalid_top_k"


def test_a_model_of_few_classes_bounds_top_k() -> None:
    assert read(IMAGE_FILE, "image/png", classes=3).top_k == 3
    assert read(IMAGE_FILE, "image/png", classes=3, query="top_k=3").top_k == 3
    assert refused(IMAGE_FILE, "image/png", classes=3, query="top_k=4") == "invalid_top_k"
    assert refused(IMAGE_FILE, "image/png", classes=1_000, query="top_k=11") == "invalid_top_k"


def test_no_top_k_takes_the_default() -> None:
    assert read(IMAGE_FILE, "image/png").top_k == DEFAULT_TOP_K
    assert read(json.dumps({"image": encoded(), "top_k": None}).encode(), "application/json").top_k == DEFAULT_TOP_K


def test_a_declared_length_over_the_limit_is_refused_before_the_body_is_read() -> None:
    def explode() -> Iterable[bytes]:
        raise AssertionError("the body was read")
        yield b""

    for media_type in ("image/png", FORM, "application/json"):
        assert refused(explode(), media_type, headers={"content-length": "10001"}) == "body_too_large"


@pytest.mark.parametrize("media_type", ["image/png", FORM, "application/json"])
def test_a_body_without_a_length_is_counted_as_it_comes(media_type: str) -> None:
    sent = 0

    def endless() -> Iterable[bytes]:
        nonlocal sent
        yield part("image", b"")[:-2] if media_type == FORM else b""
        while True:
            sent += 1_000
            yield b"x" * 1_000

    tracemalloc.start()
    code = refused(endless(), media_type)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert code == "body_too_large"
    assert sent <= 11_000
    assert peak < 1_000_000


def test_the_limit_of_a_body_is_exact() -> None:
    assert len(read(bytes(10_000), "image/png").images[0]) == 10_000  # type: ignore[arg-type]
    assert refused(bytes(10_001), "image/png") == "body_too_large"
    assert len(read(bytes(10_000), "image/png", headers={"content-length": "10000"}).images) == 1


@pytest.mark.parametrize("media_type", ["image/png", FORM, "application/json"])
def test_a_body_that_comes_too_slowly_is_cut_off(media_type: str) -> None:
    settings = Settings(upload_time_limit=0.1)
    chunks = [b"--frontier\r\n", *[b"x"] * 1_000]
    assert refused(chunks, media_type, settings=settings, chunk_seconds=0.02) == "upload_too_slow"


@pytest.mark.parametrize("media_type", ["image/png", FORM, "application/json"])
def test_a_client_that_hangs_up_is_no_crash(media_type: str) -> None:
    assert refused(form(part("image", IMAGE_FILE))[:60], media_type, ends=False) == "malformed_request"


def test_a_large_form_is_not_written_to_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a file was made")

    monkeypatch.setattr(tempfile, "_get_default_tempdir", refuse)
    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", refuse)
    content = bytes(3_000_000)
    settings = Settings(max_body_bytes=5_000_000)
    assert read(form(part("image", content)), FORM, settings=settings).images == [content]


def test_a_body_that_finds_no_room_is_refused_while_it_comes_and_later_ones_are_taken() -> None:
    settings = Settings(max_body_bytes=10_000, max_held_bytes=10_000)
    memory = budget(settings.max_held_bytes)
    with memory.hold() as add:
        add(9_000)
        for body, media_type in ((bytes(2_000), "image/png"), (form(part("image", bytes(2_000))), FORM)):
            assert refused([body[:500], body[500:]], media_type, settings=settings, memory=memory) == "overloaded"
            assert memory.held == 9_000
    assert len(read(bytes(2_000), "image/png", settings=settings, memory=memory).images) == 1
    assert memory.held == 0
