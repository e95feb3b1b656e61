"""Connections: what is invalid HTTP, who sends or reads too slowly, and that every error there has the one shape."""

import json
import socket
import time
from collections.abc import Iterable, Iterator

import httpx
import pytest

from benchmarks.harness import Server
from serving.errors import CODES
from tests.images import encode, photo
from tests.serving.conftest import StartService, log_lines

IMAGE_FILE = encode(photo(), "JPEG")
SECONDS = 1.0  # for a request to arrive
MARGIN = 3.0  # what a busy machine adds


@pytest.fixture(scope="module")
def impatient(start_service: StartService) -> Iterator[Server]:
    """A service that waits for a second where others wait for half a minute."""
    with start_service(ALEXNET_UPLOAD_TIME_LIMIT=str(SECONDS), ALEXNET_TIME_LIMIT="5") as server:
        yield server


def talk(server: Server, parts: Iterable[bytes], pause: float = 0, wait: float = 10) -> tuple[bytes, float]:
    """Send these parts; returns all that comes back until the server closes, and the seconds that it took."""
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=wait) as connection:
        started = time.monotonic()
        for number, part in enumerate(parts):
            if number:
                time.sleep(pause)
            try:
                connection.sendall(part)
            except OSError:  # closed while we were sending, as it may be
                break
        while True:
            try:
                piece = connection.recv(65_536)
            except ConnectionResetError:
                break
            if not piece:
                break
            received += piece
    return received, time.monotonic() - started


def code_of(answer: bytes) -> str:
    """The code of the error; checks its shape, and that the connection closes after it."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split(b" ")[1])
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
    }
    error = json.loads(body)["error"]
    assert set(error) == {"code", "message", "request_id"}
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"x-request-id"].decode() == error["request_id"]
    assert headers[b"connection"] == b"close"
    assert int(headers[b"content-length"]) == len(body)
    assert CODES[error["code"]].status == status
    return str(error["code"])


POST = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"GARBAGE\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET /\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        b"GET / HTTP/0.9\r\nHost: x\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
        b"GET / HTTP/3.0\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / RTSP/1.0\r\nHost: x\r\n\r\n",
        b"GET /\thttp HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
        b"GET / HTTP/1.1\rHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: folded\r\n value\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nSpace : y\r\n\r\n",
        b"GET model HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/x.y\r\nHost: x\r\n\r\n",
        b"GET / SPDY/1.1\r\nHost: x\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n: no name\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nBad Name: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: \x00\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100 + b"\r\n\r\n",
        POST + b"Content-Length: x\r\n\r\n",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        POST + b"Content-Length: 3, 3\r\n\r\nabc",
        POST + b"Content-Length: +3\r\n\r\nabc",
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST /classify HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\nabcde\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nabcde\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        POST + b"Transfer-Encoding: gzip\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcdefgh\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n",
    ],
)
def test_what_is_no_valid_http_is_an_error_of_the_one_shape(sent: bytes, service: Server) -> None:
    answer, seconds = talk(service, [sent])
    assert code_of(answer) == "malformed_request"
    assert seconds < MARGIN


HEAD = b"GET /livez HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        [HEAD + b"X: " + b"a" * 100_000 + b"\r\n\r\n"],
        [HEAD + b"X: " + b"a" * 50_000, b"a" * 50_000 + b"\r\n\r\n"],
        [HEAD + b"X: " + b"a" * 100_000],
        [HEAD + b"X: y\r\n" * 101 + b"\r\n"],
        [HEAD + b"X: y\r\n" * 50, b"X: y\r\n" * 51 + b"\r\n"],
        [b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"],
        [b"GET /" + b"a" * 50_000, b"a" * 50_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"],
        [b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" + HEAD + b"X: " + b"a" * 100_000 + b"\r\n\r\n"],
    ],
)
def test_a_head_that_is_too_large_is_431_in_however_many_packets_it_comes(parts: list[bytes], service: Server) -> None:
    answer, seconds = talk(service, parts, pause=0.1)
    *earlier, last = answer.split(b"HTTP/1.1 ")[1:]
    assert all(part.startswith(b"200") for part in earlier)
    assert code_of(b"HTTP/1.1 " + last) == "headers_too_large"
    assert seconds < MARGIN


def test_a_head_that_is_large_but_may_be_is_answered(service: Server) -> None:
    answer, _ = talk(service, [HEAD + b"X: " + b"a" * 30_000 + b"\r\n", b"Connection: close\r\n\r\n"], pause=0.05)
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\r\nGET /livez HTTP/1.1\r\nHost: x\r\n", b"200"),  # an empty line before it
        (b"GET http://x/livez HTTP/1.1\r\nHost: x\r\n", b"200"),  # absolute form
        (b"GET http://x/livez?y=http://z HTTP/1.1\r\nHost: x\r\n", b"200"),
        (b"GET HTTP://x HTTP/1.1\r\nHost: x\r\n", b"307"),
        (b"GET http://x/nothing HTTP/1.1\r\nHost: x\r\n", b"404"),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n", b"404"),
        (b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n", b"404"),
        (b"GET /%6civez HTTP/1.1\r\nHost: x\r\n", b"200"),
        (b"GET /livez%0a HTTP/1.1\r\nHost: x\r\n", b"404"),
        (b"GET /livez#x HTTP/1.1\r\nHost: x\r\n", b"404"),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n", b"200"),
    ],
)
def test_what_is_unusual_and_valid_is_answered(sent: bytes, status: bytes, service: Server) -> None:
    answer, _ = talk(service, [sent, b"Connection: close\r\n\r\n"], pause=0.05)
    assert answer.split(b" ")[1] == status


def test_a_body_is_read_also_when_its_head_asks_for_an_upgrade(service: Server) -> None:
    upgrade = POST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    sized = upgrade + b"Content-Length: %d\r\n\r\n" % len(IMAGE_FILE) + IMAGE_FILE
    chunked = upgrade + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(IMAGE_FILE) + IMAGE_FILE + b"\r\n0\r\n\r\n"
    last = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer, _ = talk(service, [sized + chunked + last])
    assert [part[1:4] for part in answer.split(b"HTTP/1.1")[1:]] == [b"200", b"200", b"200"]
    answer, _ = talk(service, [sized[:-100], sized[-100:] + last], pause=0.05)
    assert [part[1:4] for part in answer.split(b"HTTP/1.1")[1:]] == [b"200", b"200"]


def test_an_error_waits_for_the_answers_to_the_requests_before_it(service: Server) -> None:
    one = POST + b"Content-Length: %d\r\n\r\n" % len(IMAGE_FILE) + IMAGE_FILE
    for bad in (b"GARBAGE\r\n\r\n", POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"):
        answer, _ = talk(service, [one + one + bad])
        first, second, last = answer.split(b"HTTP/1.1 ")[1:]
        assert first.startswith(b"200")
        assert second.startswith(b"200")
        assert code_of(b"HTTP/1.1 " + last) == "malformed_request"


def test_more_pipelined_requests_than_may_be_are_refused_after_the_answers_to_the_others(service: Server) -> None:
    answer, _ = talk(service, [b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 100])
    statuses = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200"] * 65 + [b"400"]


@pytest.mark.parametrize(
    "body",
    [
        b"1\r\nx\r\n" * 20_000,
        b"1;" + b"x" * 200 + b"\r\nx\r\n" + b"1000;" + b"x" * 200_000 + b"\r\n",
        b"5\r\nabcde\r\n0\r\n" + b"T: x\r\n" * 50_000,
    ],
)
def test_framing_that_costs_more_than_its_body_is_refused(body: bytes, service: Server) -> None:
    sent = [POST + b"Transfer-Encoding: chunked\r\n\r\n", *(body[i : i + 20_000] for i in range(0, len(body), 20_000))]
    answer, seconds = talk(service, sent, pause=0.01)
    assert code_of(answer) == "malformed_request"
    assert seconds < MARGIN + 2


def test_a_body_in_chunks_of_ordinary_size_is_answered(service: Server) -> None:
    chunks = b"".join(
        b"%x\r\n%b\r\n" % (len(part), part) for part in (IMAGE_FILE[i : i + 64] for i in range(0, len(IMAGE_FILE), 64))
    )
    head = POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer, _ = talk(service, [head, chunks, b"0\r\nTrailer: x\r\n\r\n"], pause=0.01)
    assert answer.startswith(b"HTTP/1.1 200")


def test_what_is_no_valid_http_after_an_answer_has_begun_only_closes(service: Server) -> None:
    chunk = b"200000\r\n" + bytes(0x200000) + b"\r\n"  # two megabytes
    answer, _ = talk(service, [POST + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 6, b"nonsense\r\n"], pause=0.05)
    assert code_of(answer) == "body_too_large"
    request_id = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["request_id"]
    (line,) = log_lines(service, request_id)  # it is written when the connection has closed
    assert "status=413 code=body_too_large" in line


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (POST + b"Content-Length: 30000000\r\n\r\n", "body_too_large"),
        (b"GARBAGE\r\n\r\n", "malformed_request"),
        (b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 30000000\r\n\r\n", "not_found"),
    ],
)
def test_a_client_that_reads_only_after_it_has_sent_all_gets_its_answer(
    head: bytes, code: str, service: Server
) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(head)
        for _ in range(30):
            time.sleep(0.002)
            connection.sendall(bytes(1_000_000))  # fails on a connection that was closed too early
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
    assert code_of(answer) == code


def test_the_service_goes_on_after_it_and_has_counted_it(service: Server) -> None:
    def count() -> float:
        lines = httpx.get(service.url + "/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith('alexnet_errors_total{code="malformed'))

    before = count()
    talk(service, [b"GARBAGE\r\n\r\n"])
    assert count() == before + 1
    assert httpx.post(service.url + "/classify", content=IMAGE_FILE).status_code == 200


def test_requests_that_follow_each_other_at_once_are_answered_in_order(service: Server) -> None:
    one = POST + b"Content-Length: %d\r\n\r\n" % len(IMAGE_FILE) + IMAGE_FILE
    bad = POST + b"Content-Length: 5\r\n\r\nabcde"
    last = b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer, _ = talk(service, [one + bad + one + last])
    statuses = [part[1:4] for part in answer.split(b"HTTP/1.1")[1:]]
    assert statuses == [b"200", b"415", b"200", b"404"]


@pytest.mark.parametrize("path", [b"/readyz", b"/ui", b"/model", b"/nothing"])
def test_head_is_answered_at_once_on_a_connection_that_stays_open(path: bytes, service: Server) -> None:
    head, last = b"HEAD " + path + b" HTTP/1.1\r\nHost: x\r\n", b"Connection: close\r\n\r\n"
    answer, _ = talk(service, [head + b"\r\n", head + last])
    assert answer.count(b"HTTP/1.1 ") == answer.count(b"\r\n\r\n") == 2
    with socket.create_connection(("127.0.0.1", service.port), timeout=MARGIN) as connection:
        connection.sendall(head + b"\r\n")
        assert connection.recv(65_536).endswith(b"\r\n\r\n")  # raises TimeoutError when it is held back


def test_a_client_of_http_1_0_is_answered(service: Server) -> None:
    answer, _ = talk(service, [b"GET /livez HTTP/1.0\r\n\r\n"])
    assert answer.startswith(b"HTTP/1.1 200")


def test_expect_continue_is_not_answered_with_continue_when_the_body_is_too_large(service: Server) -> None:
    head = POST + b"Content-Length: 200000000\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(head)
        assert connection.recv(4096).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("method", [b"HEAD", b"OPTIONS", b"TRACE", b"CONNECT", b"PRI", b"get"])
def test_a_strange_method_is_answered(method: bytes, service: Server) -> None:
    answer, _ = talk(service, [method + b" /model HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"])
    assert answer.startswith(b"HTTP/1.1 200" if method == b"HEAD" else b"HTTP/1.1 405")


# --- slowness


def drops(pieces: bytes) -> Iterator[bytes]:
    """A byte at a time, for ever so long."""
    for piece in pieces:
        yield bytes([piece])


def test_a_head_that_comes_too_slowly_is_cut_off_with_an_error(impatient: Server) -> None:
    answer, seconds = talk(impatient, drops(b"GET /model HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 50), pause=0.1)
    assert code_of(answer) == "upload_too_slow"
    assert SECONDS * 0.9 < seconds < SECONDS + MARGIN


def test_a_second_head_that_comes_too_slowly_is_cut_off_too(impatient: Server) -> None:
    first = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    answer, seconds = talk(impatient, [first, *drops(b"GET /model HTTP/1.1\r\n" * 10)], pause=0.1)
    assert answer.startswith(b"HTTP/1.1 200")
    assert code_of(answer[answer.index(b"HTTP/1.1 408") :]) == "upload_too_slow"
    assert seconds < SECONDS + MARGIN


def test_a_connection_on_which_nothing_comes_is_closed_without_a_word(impatient: Server) -> None:
    answer, seconds = talk(impatient, [])
    assert answer == b""
    assert SECONDS * 0.9 < seconds < SECONDS + MARGIN


@pytest.mark.parametrize("head", [b"Content-Length: 5000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"])
def test_a_body_that_comes_too_slowly_is_cut_off_with_an_error(head: bytes, impatient: Server) -> None:
    chunk = b"1\r\nx\r\n" if b"chunked" in head else b"x"
    answer, seconds = talk(impatient, [POST + head, *[chunk] * 100], pause=0.1)
    assert code_of(answer) == "upload_too_slow"
    assert seconds < SECONDS + 2 + MARGIN  # two seconds in which the rest is thrown away


def test_a_body_that_nobody_reads_does_not_hold_its_connection(impatient: Server) -> None:
    head = b"GET /model HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n"
    answer, seconds = talk(impatient, [head, *[b"x"] * 100], pause=0.1)
    assert answer.startswith(b"HTTP/1.1 200")
    assert seconds < SECONDS + MARGIN


def test_a_client_that_does_not_read_does_not_hold_its_connection(impatient: Server) -> None:
    asked = b"GET /static_content/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", impatient.port))
        connection.sendall(asked * 20)  # far more than the buffers in between take
        time.sleep(SECONDS + MARGIN)
        received = 0
        try:
            while piece := connection.recv(1 << 20):
                received += len(piece)
        except ConnectionResetError:
            pass
    assert received < 20_000_000


def test_an_idle_connection_is_kept_as_long_as_the_setting_says(start_service: StartService) -> None:
    with start_service(ALEXNET_KEEP_ALIVE="2", ALEXNET_UPLOAD_TIME_LIMIT="1") as server:
        request = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
        answer, seconds = talk(server, [request, request], pause=1.5)
        assert answer.count(b"HTTP/1.1 200") == 2
        assert 1.5 + 2 * 0.9 < seconds < 1.5 + 2 + MARGIN


def test_an_upload_that_is_slow_but_in_time_is_answered(impatient: Server) -> None:
    cut = len(IMAGE_FILE) // 3
    head = POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(IMAGE_FILE)
    answer, _ = talk(impatient, [head, IMAGE_FILE[:cut], IMAGE_FILE[cut : 2 * cut], IMAGE_FILE[2 * cut :]], pause=0.1)
    assert answer.startswith(b"HTTP/1.1 200")


def test_slow_clients_do_not_keep_others_waiting(impatient: Server) -> None:
    slow = [socket.create_connection(("127.0.0.1", impatient.port)) for _ in range(50)]
    try:
        for connection in slow:
            connection.sendall(POST + b"Content-Length: 5000\r\n\r\nx")
        started = time.monotonic()
        assert httpx.post(impatient.url + "/classify", content=IMAGE_FILE).status_code == 200
        assert time.monotonic() - started < SECONDS
    finally:
        for connection in slow:
            connection.close()


def test_none_of_this_is_a_mistake_of_ours(service: Server, impatient: Server) -> None:
    for server in (service, impatient):
        assert "Traceback" not in server.log.read_text()
        assert "[ERROR]" not in server.log.read_text()
