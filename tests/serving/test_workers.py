"""Two workers with keys, closed metrics, CORS and JSON logs: what holds for one process holds for several."""

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.harness import Server
from tests.images import encode, photo
from tests.serving.conftest import StartService
from tests.serving.test_middleware import code_of

IMAGE_FILE = encode(photo(), "JPEG")
KEYS = ("old-key-4711", "new-key-0815")
AUTHORIZATION = {"authorization": f"Bearer {KEYS[0]}"}
ORIGIN = "https://page.example"
# Each request on a connection of its own, so that either worker may take it.
CLIENT = httpx.Client(timeout=30, limits=httpx.Limits(max_keepalive_connections=0))


@pytest.fixture(scope="module")
def workers(start_service: StartService) -> Iterator[Server]:
    with start_service(
        ALEXNET_WORKERS="2",
        ALEXNET_API_KEYS=",".join(KEYS),
        ALEXNET_PUBLIC_METRICS="false",
        ALEXNET_CORS_ORIGINS=ORIGIN,
        ALEXNET_LOG_FORMAT="json",
    ) as server:
        yield server


def post(server: Server, content: bytes = IMAGE_FILE, **headers: str) -> httpx.Response:
    return CLIENT.post(server.url + "/classify", content=content, headers={**AUTHORIZATION, **headers})


def samples(server: Server) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = CLIENT.get(server.url + "/metrics", headers=AUTHORIZATION).text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_metrics_of_two_workers_parse_and_add_up(workers: Server) -> None:
    before = samples(workers)
    with ThreadPoolExecutor(8) as threads:
        good = list(threads.map(lambda _: post(workers), range(60)))
        bad = list(threads.map(lambda _: post(workers, b"no image"), range(20)))
    assert {response.status_code for response in good} == {200}
    assert {response.status_code for response in bad} == {415}
    after = samples(workers)

    def grown(name: str, **labels: str) -> float:
        keys = [key for key in after if key[0] == name and labels.items() <= dict(key[1]).items()]
        assert keys
        return sum(after[key] - before.get(key, 0) for key in keys)

    assert (
        grown(
            "http_server_request_duration_seconds_count",
            http_route="/classify",
            http_request_method="POST",
            http_response_status_code="200",
        )
        == 60
    )
    assert (
        grown(
            "http_server_request_duration_seconds_count",
            http_route="/classify",
            http_request_method="POST",
            http_response_status_code="415",
        )
        == 20
    )
    assert grown("alexnet_errors_total", code="unsupported_format") == 20
    assert grown("alexnet_batch_size_sum") == 60
    assert grown("http_server_request_duration_seconds_count", http_route="/classify") == 80
    assert grown("http_server_request_duration_seconds_bucket", http_route="/classify", le="+Inf") == 80
    for (name, labels), value in after.items():  # the buckets of a histogram never shrink
        if name.endswith("_bucket") and ("le", "+Inf") in labels:
            rest = labels - {("le", "+Inf")}
            assert after[(name.replace("_bucket", "_count"), rest)] == value
    (info,) = [labels for name, labels in after if name == "alexnet_model_info"]
    assert dict(info)["name"] == "tiny"


def test_keys_hold_in_every_worker_and_probes_stay_open(workers: Server) -> None:
    for _ in range(8):
        assert code_of(CLIENT.get(workers.url + "/model"), 401) == "unauthorized"
        assert code_of(CLIENT.get(workers.url + "/metrics"), 401) == "unauthorized"
        wrong = {"authorization": "Bearer nonsense"}
        assert code_of(CLIENT.post(workers.url + "/classify", content=IMAGE_FILE, headers=wrong), 401) == "unauthorized"
        for key in KEYS:
            headers = {"authorization": f"Bearer {key}"}
            assert CLIENT.get(workers.url + "/model", headers=headers).status_code == 200
        for path in ("/livez", "/readyz", "/healthz", "/docs.json"):
            assert CLIENT.get(workers.url + path).status_code == 200


def test_a_large_body_without_a_key_is_refused_unread(workers: Server) -> None:
    headers = {"content-type": "image/jpeg", "content-length": "200000000"}
    before = workers.memory_mb()
    response = CLIENT.post(workers.url + "/classify", content=(bytes(1_000_000) for _ in range(200)), headers=headers)
    assert code_of(response, 401) == "unauthorized"
    assert workers.memory_mb() - before < 20


def test_the_preflight_of_a_page_works_with_keys_on(workers: Server) -> None:
    asked = {"origin": ORIGIN, "access-control-request-method": "POST"}
    asked["access-control-request-headers"] = "authorization, content-type"
    response = CLIENT.options(workers.url + "/classify", headers=asked)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert post(workers, origin=ORIGIN).headers["access-control-allow-origin"] == ORIGIN


def test_z_every_log_line_is_json_and_holds_no_key_and_no_image_and_sigterm_ends_all(workers: Server) -> None:
    files = {"image": ("private-name.jpg", b"private content", "image/jpeg")}
    CLIENT.post(workers.url + "/classify?private=query", files=files, headers=AUTHORIZATION)
    CLIENT.post(workers.url + "/classify", json={"image": "cHJpdmF0ZQ=="}, headers=AUTHORIZATION)
    workers.process.send_signal(signal.SIGTERM)
    assert workers.process.wait(30) == 0
    text = workers.log.read_text()
    for hidden in ("private", "cHJpdm", *KEYS):
        assert hidden not in text
    lines = [json.loads(line) for line in text.splitlines()]
    requests = [line for line in lines if line["message"] == "request"]
    assert len(requests) > 100
    for line in requests:
        assert {"time", "level", "request_id", "route", "status", "milliseconds"} <= set(line)
