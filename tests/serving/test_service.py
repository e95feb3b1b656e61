"""The running service with its default settings, as clients find it."""

import base64
import os
import pickle
import re
import select
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bentoml
import httpx
import pytest
from bentoml.exceptions import BentoMLException
from prometheus_client.parser import text_string_to_metric_families

from alexnet.datasets import Images
from alexnet.datasets.cifar10 import CLASSES
from alexnet.inference.classifier import Classifier
from alexnet.inference.decode import decode
from benchmarks.harness import Server
from serving.settings import MODEL
from tests.images import encode, jpeg, photo, png
from tests.serving.conftest import log_lines
from tests.serving.test_middleware import code_of

IMAGE_FILE = encode(photo(), "JPEG")
JPEG = {"content-type": "image/jpeg"}

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:pathspec", "ignore::DeprecationWarning:_bentoml_sdk"
)


def scores(client: httpx.Client, **sent: Any) -> Any:
    response = client.post("/classify", **sent)
    assert response.status_code == 200, response.text
    return response.json()["predictions"]


@pytest.fixture
def picture_file(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(IMAGE_FILE)
    return path


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server that nobody may contact."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        yield server


def assert_untouched(listener: socket.socket) -> None:
    with pytest.raises(TimeoutError):
        listener.accept()


# --- one image, every way in


@pytest.mark.parametrize(
    "label", ["image/jpeg", "image/png", "image/jpg", "image/pjpeg", "image/webp", "application/octet-stream", None]
)
def test_a_label_that_lies_changes_nothing(label: str | None, client: httpx.Client) -> None:
    expected = scores(client, content=IMAGE_FILE, headers=JPEG)
    assert scores(client, content=IMAGE_FILE, headers={} if label is None else {"content-type": label}) == expected
    assert scores(client, files={"image": ("x", IMAGE_FILE, label or "")}) == expected


def test_form_raw_body_json_and_bentomls_client_agree_to_the_last_digit(
    service: Server, client: httpx.Client, picture_file: Path
) -> None:
    expected = scores(client, content=IMAGE_FILE, headers=JPEG)
    text = base64.b64encode(IMAGE_FILE).decode()
    assert scores(client, files={"image": IMAGE_FILE}) == expected
    assert scores(client, json={"image": text}) == expected
    assert scores(client, json={"image": "data:image/jpeg;base64," + text}) == expected
    with bentoml.SyncHTTPClient(service.url) as bento:
        assert bento.is_ready()
        assert bento.classify(image=picture_file)["predictions"] == expected
        assert bento.classify(image=picture_file, top_k=2)["predictions"] == expected[:2]
        results = bento.classify_batch(images=[picture_file, picture_file], top_k=1)["results"]
        assert [result["predictions"][0]["label"] for result in results] == [expected[0]["label"]] * 2


def test_curl_as_the_documentation_writes_it(service: Server, picture_file: Path, client: httpx.Client) -> None:
    import json
    import subprocess

    expected = scores(client, content=IMAGE_FILE, headers=JPEG)
    for arguments in (
        ["-F", f"image=@{picture_file}"],
        ["--data-binary", f"@{picture_file}", "-H", "Content-Type: image/jpeg"],
        ["-T", str(picture_file), "-X", "POST", "-H", "Transfer-Encoding: chunked"],
    ):
        try:
            found = subprocess.run(
                ["curl", "-s", *arguments, service.url + "/classify"], capture_output=True, check=True
            )
        except FileNotFoundError:
            pytest.skip("curl is not installed")
        assert json.loads(found.stdout)["predictions"] == expected


def test_a_cat_is_a_cat_by_the_committed_model(fixture_images: Images) -> None:
    model = Classifier(MODEL, threads=1)
    cats = fixture_images.pixels[fixture_images.labels == CLASSES.index("cat")]
    found = [model.classes[row.argmax()] for row in model.run(cats).probabilities]
    assert found.count("cat") > len(cats) / 2
    from PIL import Image

    first = decode(encode(Image.fromarray(cats[found.index("cat")])), *model.image_shape[:2])
    assert model.classes[model.run(first[None]).probabilities.argmax()] == "cat"


# --- what is sent is no image


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "empty_image"),
        (b"x", 415, "unsupported_format"),
        (b"a text of some length, but no image", 415, "unsupported_format"),
        (b"%PDF-1.7", 415, "unsupported_format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><image href='http://127.0.0.1/'/></svg>", 415, "unsupported_format"),
        (IMAGE_FILE[: len(IMAGE_FILE) // 2], 422, "truncated_image"),
        (encode(photo(), "PNG")[:-40], 422, "truncated_image"),
        (jpeg(65_535, 65_535), 422, "too_many_pixels"),
        (png(30_000, 30_000, bytes(1_000_000)), 422, "too_many_pixels"),
    ],
)
def test_what_is_no_good_image_is_a_4xx_by_every_way_in(
    content: bytes, status: int, code: str, client: httpx.Client
) -> None:
    text = base64.b64encode(content).decode()
    for sent in ({"content": content, "headers": JPEG}, {"files": {"image": content}}, {"json": {"image": text}}):
        assert code_of(client.post("/classify", **sent), status) == code
    (result,) = client.post("/classify_batch", json=[text]).json()["results"]
    assert result["error"]["code"] == code


def test_one_broken_image_among_sixteen_requests_at_once_is_one_error_twenty_times_in_a_row(
    threads_client: httpx.Client,
) -> None:
    expected = scores(threads_client, content=IMAGE_FILE, headers=JPEG)
    start = threading.Barrier(16)

    def ask(content: bytes) -> httpx.Response:
        start.wait(30)
        return threads_client.post("/classify", content=content, headers=JPEG)

    with ThreadPoolExecutor(16) as threads:
        for turn in range(20):
            place = turn % 16
            broken = [IMAGE_FILE[:-200], b"nonsense", b"", jpeg(60_000, 60_000)][turn % 4]
            contents = [broken if number == place else IMAGE_FILE for number in range(16)]
            responses = list(threads.map(ask, contents))
            for number, response in enumerate(responses):
                if number == place:
                    assert code_of(response)
                    assert 400 <= response.status_code < 500
                else:
                    assert response.status_code == 200
                    assert response.json()["predictions"] == expected


@pytest.mark.parametrize("media_type", ["application/x-python-pickle", "application/vnd.bentoml+pickle"])
def test_a_pickle_is_415_and_is_not_executed(media_type: str, client: httpx.Client, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "executed"),)

    for path in ("/classify", "/classify_batch", "/preview", "/classify%0A", "/"):
        for content in (pickle.dumps(Bomb()), pickle.dumps({"image": Bomb()})):
            response = client.post(
                path, content=content, headers={"content-type": media_type, "Payload-Container": "x"}
            )
            assert response.status_code in (404, 405, 415)
            code_of(response)
    assert not (tmp_path / "executed").exists()


# --- no outgoing connection


def test_a_url_in_the_place_of_an_image_is_never_fetched(
    service: Server, client: httpx.Client, listener: socket.socket
) -> None:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/cat.jpg"
    text = {"image": (None, url)}
    for path in ("/classify", "/classify_batch", "/preview", "/classify%0A", "/classify_batch%0A", "/classify/"):
        for sent in (
            {"files": text},
            {"files": {"images": (None, url)}},
            {"data": {"image": url}},
            {"json": {"image": url}},
            {"json": {"images": [url]}},
            {"json": [url]},
            {"content": url.encode(), "headers": {"content-type": "text/uri-list"}},
            {"content": url.encode(), "headers": {"content-type": "application/vnd.bentoml+urls"}},
            {"content": url.encode(), "headers": JPEG},
        ):
            response = client.post(path, **sent)  # type: ignore[arg-type]
            if response.status_code == 200:  # a batch, whose item has the error
                assert [list(result) for result in response.json()["results"]] == [["error"]]
            else:
                code_of(response)
                assert 400 <= response.status_code < 500
    with bentoml.SyncHTTPClient(service.url) as bento:
        for ask in (lambda: bento.classify(image=url), lambda: bento.classify_batch(images=[url])):
            with pytest.raises(BentoMLException):
                ask()
    assert_untouched(listener)


# --- errors, limits, framing


def test_404_405_and_the_rest_have_the_one_shape(client: httpx.Client) -> None:
    assert code_of(client.get("/nothing"), 404) == "not_found"
    assert code_of(client.get("/static_content/nothing.js"), 404) == "not_found"
    assert code_of(client.get("/classify"), 405) == "method_not_allowed"
    assert code_of(client.post("/readyz"), 405) == "method_not_allowed"
    assert code_of(client.post("/livez"), 405) == "method_not_allowed"
    assert code_of(client.delete("/static_content/swagger-ui.css"), 405) == "method_not_allowed"
    assert code_of(client.post("/classify", content=b"x", headers={"content-type": "text/plain"}), 415)
    assert code_of(client.post("/classify", json=[]), 400) == "malformed_body"
    websocket = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    websocket["sec-websocket-key"] = "dGhlIHNhbXBsZSBub25jZQ=="
    assert code_of(client.get("/nothing", headers=websocket), 404) == "not_found"


def test_a_200_mb_upload_with_its_length_is_refused_at_once(service: Server) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        head = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 200000000\r\n\r\n"
        connection.sendall(head)  # and not a byte of the body
        assert b"413" in connection.recv(4096).splitlines()[0]


def test_an_endless_upload_without_a_length_is_refused_as_soon_as_the_limit_is_passed(service: Server) -> None:
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    sent = 0
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not select.select([connection], [], [], 0.001)[0]:
            connection.sendall(chunk)
            sent += 0x10000
            assert sent < 40_000_000  # ten megabytes, and what fits in the buffers of both sides
        assert b"413" in connection.recv(4096).splitlines()[0]


@pytest.mark.parametrize("declared", [True, False])
def test_a_200_mb_upload_is_cut_off_and_memory_stays_flat(
    declared: bool, service: Server, client: httpx.Client
) -> None:
    client.post("/classify", content=bytes(9_000_000), headers=JPEG)
    before = service.memory_mb()
    headers = {**JPEG, **({"content-length": "200000000"} if declared else {})}
    response = client.post("/classify", content=(bytes(1_000_000) for _ in range(200)), headers=headers)
    assert code_of(response, 413) == "body_too_large"
    assert service.memory_mb() - before < 40
    assert scores(client, content=IMAGE_FILE, headers=JPEG)


def test_a_body_of_exactly_the_limit_is_read(client: httpx.Client) -> None:
    response = client.post("/classify", content=bytes(10_000_000), headers=JPEG)
    assert code_of(response, 415) == "unsupported_format"
    response = client.post("/classify", content=bytes(10_000_001), headers=JPEG)
    assert code_of(response, 413) == "body_too_large"


def test_a_client_that_hangs_up_in_its_body_harms_nobody(service: Server, client: httpx.Client) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", service.port)) as connection:
            connection.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\nabc")
    assert scores(client, content=IMAGE_FILE, headers=JPEG)


def test_top_k_is_bounded_in_each_way_in(client: httpx.Client) -> None:
    text = base64.b64encode(IMAGE_FILE).decode()
    for top_k in (0, 11, -1, "x"):
        for sent in (
            {"content": IMAGE_FILE, "headers": JPEG, "params": {"top_k": top_k}},
            {"files": {"image": IMAGE_FILE}, "data": {"top_k": str(top_k)}},
            {"json": {"image": text, "top_k": top_k}},
        ):
            assert code_of(client.post("/classify", **sent), 400) == "invalid_top_k"  # type: ignore[arg-type]
    assert len(scores(client, json={"image": text, "top_k": 10})) == 10


# --- what it says about itself


def test_probes_metrics_pages_and_the_models_card_are_there(client: httpx.Client) -> None:
    for path in ("/livez", "/readyz", "/healthz", "/schema.json", "/docs", "/docs.json", "/ui", "/model", "/metrics"):
        response = client.get(path)
        assert response.status_code == 200, path
        assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])
    card = client.get("/model").json()
    assert card["runtime"] == {**card["runtime"], "provider": "CPUExecutionProvider", "threads": 1, "degraded": False}
    page = client.get("/docs").text
    for path in re.findall(r'(?:src|href)="([^":]+)"', page):
        assert client.get(f"/{path}").status_code == 200, path


def test_a_request_id_is_echoed_and_logged(service: Server, client: httpx.Client) -> None:
    response = client.post("/classify", content=b"x", headers={**JPEG, "x-request-id": "find-me-again"})
    assert response.headers["x-request-id"] == "find-me-again"
    assert response.json()["error"]["request_id"] == "find-me-again"
    (line,) = log_lines(service, "find-me-again")
    assert "route=/classify status=415 code=unsupported_format" in line


def test_metrics_parse_and_count_what_was_asked(client: httpx.Client) -> None:
    def count(name: str, **labels: str) -> float:
        families = text_string_to_metric_families(client.get("/metrics").text)
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    counted = (
        ("http_server_request_duration_seconds_count", {"http_route": "/classify", "http_response_status_code": "200"}),
        ("alexnet_answers_total", {}),
    )
    before = [count(name, **labels) for name, labels in counted]
    errors = count("alexnet_errors_total", code="truncated_image")
    for _ in range(5):
        client.post("/classify", content=IMAGE_FILE, headers=JPEG)
        client.post("/classify", content=IMAGE_FILE[:-100], headers=JPEG)
    assert [count(name, **labels) for name, labels in counted] == [value + 5 for value in before]
    assert count("alexnet_errors_total", code="truncated_image") == errors + 5
    for stage in ("queue", "decode", "inference", "encode"):
        assert count("alexnet_stage_seconds_count", stage=stage) >= 5


def test_memory_is_flat_after_the_first_requests(service: Server, threads_client: httpx.Client) -> None:
    kinds = [IMAGE_FILE, IMAGE_FILE[:-100], encode(photo(600, 400), "PNG"), b"nonsense", encode(photo(), "WEBP")]

    def ask(number: int) -> None:
        threads_client.post("/classify", content=kinds[number % len(kinds)], headers=JPEG)
        if number % 20 == 0:
            threads_client.get(f"/scan/{time.monotonic_ns()}")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, range(400)))
        before = service.memory_mb()
        list(threads.map(ask, range(1_500)))
    assert service.memory_mb() - before < 5  # 3 kB left behind by each request would be seen


def test_no_request_of_all_these_was_a_mistake_of_ours(service: Server, client: httpx.Client) -> None:
    log = service.log.read_text()
    assert "Traceback" not in log
    assert "[ERROR]" not in log
    assert "internal_error" not in client.get("/metrics").text


def test_nothing_connected_to_anywhere(connections: Path, service: Server) -> None:
    # The services of all tests so far, from their start on, and those that have stopped, to their end.
    assert not connections.exists() or connections.read_text() == ""
