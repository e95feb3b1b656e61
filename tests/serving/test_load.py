"""More work than the service may take, work that takes too long, and SIGTERM in the middle of it."""

import http.client
import json
import signal
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.harness import Server
from tests.images import encode, photo
from tests.models import write_model
from tests.serving.conftest import StartService
from tests.serving.test_middleware import code_of

IMAGE_FILE = encode(photo(), "JPEG")


# As many connections as asked for, and each of them new.
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=0)
CLIENT = httpx.Client(timeout=60, limits=LIMITS)


def ask(server: Server) -> httpx.Response:
    return CLIENT.post(server.url + "/classify", content=IMAGE_FILE)


def metric(server: Server, name: str, **labels: str) -> float:
    families = text_string_to_metric_families(CLIENT.get(server.url + "/metrics").text)
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def wait_until_in_flight(server: Server, count: int) -> None:
    """Until the service itself says that it has `count` requests in flight besides this one."""
    until = time.monotonic() + 30
    while metric(server, "http_server_active_requests") <= count:
        assert time.monotonic() < until, "the requests never arrived"
        time.sleep(0.02)


def test_more_requests_than_may_wait_are_told_so_at_once_and_come_through_later(
    start_service: StartService, slow_model: Path
) -> None:
    settings = {"ALEXNET_CONCURRENCY": "1", "ALEXNET_QUEUE": "3", "ALEXNET_TIME_LIMIT": "30"}
    with start_service(ALEXNET_MODEL=str(slow_model), **settings) as server:
        start = threading.Barrier(12)

        def ask_together(_: int) -> httpx.Response:
            start.wait(10)
            return ask(server)

        with ThreadPoolExecutor(12) as threads:
            responses = list(threads.map(ask_together, range(12)))
        statuses = Counter(response.status_code for response in responses)
        assert set(statuses) == {200, 503}
        # One at work and three waiting; a fifth, should the first be done before the last has arrived.
        assert 4 <= statuses[200] <= 6
        refused = [response for response in responses if response.status_code == 503]
        for response in refused:
            assert code_of(response) == "overloaded"
            assert int(response.headers["retry-after"]) >= 1
        waits = sorted(response.elapsed for response in refused)
        assert min(r.elapsed for r in responses if r.status_code == 200) > waits[len(waits) // 2]  # one may be held up
        assert metric(server, "alexnet_errors_total", code="overloaded") == len(refused)
        assert ask(server).status_code == 200


def test_work_that_takes_too_long_is_504_and_there_is_never_more_of_it_than_configured(
    start_service: StartService, session_path: Path
) -> None:
    model = write_model(session_path / "slower.onnx", rounds=8_000)  # three seconds or more
    settings = {"ALEXNET_CONCURRENCY": "1", "ALEXNET_QUEUE": "1", "ALEXNET_TIME_LIMIT": "0.3"}
    with start_service(ALEXNET_MODEL=str(model), **settings) as server:
        began = metric(server, "alexnet_stage_seconds_count", stage="queue")
        started = time.monotonic()
        assert code_of(ask(server), 504) == "timed_out"
        assert time.monotonic() - started < 2.5  # the client waits for the limit, not for the work
        # The work continues and keeps its place: what comes now may wait, or not, but does not begin.
        codes = [code_of(ask(server)) for _ in range(2)]
        assert set(codes) <= {"timed_out", "overloaded"}
        assert metric(server, "alexnet_stage_seconds_count", stage="queue") == began + 1
        assert metric(server, "alexnet_errors_total", code="timed_out") == 1 + codes.count("timed_out")
        assert metric(
            server,
            "http_server_request_duration_seconds_count",
            http_route="/classify",
            http_response_status_code="504",
        ) == 1 + codes.count("timed_out")
        assert CLIENT.get(server.url + "/readyz").status_code == 200


def test_sigterm_with_32_requests_in_flight_answers_all_and_exits_with_0(
    start_service: StartService, session_path: Path
) -> None:
    model = write_model(session_path / "steady.onnx", rounds=300)
    settings = {"ALEXNET_CONCURRENCY": "1", "ALEXNET_QUEUE": "64", "ALEXNET_TIME_LIMIT": "60"}
    with start_service(ALEXNET_MODEL=str(model), **settings) as server, ThreadPoolExecutor(32) as threads:
        futures = [threads.submit(ask, server) for _ in range(32)]
        wait_until_in_flight(server, 30)  # the first may be answered already
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        responses = [future.result() for future in futures]
    assert [response.status_code for response in responses] == [200] * 32
    assert len({json.dumps(response.json()["predictions"]) for response in responses}) == 1


def test_sigterm_does_not_wait_for_clients_that_hold_their_connections(start_service: StartService) -> None:
    head = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\nabc"
    with start_service(ALEXNET_UPLOAD_TIME_LIMIT="2") as server:
        held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(9)]
        client = httpx.Client(base_url=server.url)
        try:
            assert client.get("/livez").status_code == 200  # kept alive, and idle
            for number, connection in enumerate(held):
                connection.sendall((b"", b"POST /cl", head)[number % 3])  # nothing, a part of a head, of a body
            wait_until_in_flight(server, 3)
            started = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(30) == 0
            assert time.monotonic() - started < 2 + 2 + 6  # to arrive, to linger, and a busy machine
        finally:
            client.close()
            for connection in held:
                connection.close()


def test_a_request_on_its_way_at_the_moment_of_sigterm_is_answered(start_service: StartService) -> None:
    with start_service() as server:
        fresh, used = (http.client.HTTPConnection("127.0.0.1", server.port, timeout=20) for _ in range(2))
        fresh.connect()
        used.request("GET", "/livez")
        assert used.getresponse().read() == b"\n"
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.15)  # the service has seen the signal by now, and closes idle connections a little later
        for connection in (fresh, used):
            connection.request("POST", "/classify", IMAGE_FILE)
        for connection in (fresh, used):
            response = connection.getresponse()
            assert response.headers["connection"] == "close"
            assert json.loads(response.read())["predictions"]
        assert server.process.wait(30) == 0
