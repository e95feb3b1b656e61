"""The middleware: keys, request ids, one shape for errors, what BentoML gets to see, CORS, counting and logging."""

import asyncio
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving import middleware
from serving.errors import CODES, RequestError
from serving.logs import LOGGER
from serving.middleware import ClientLimitMiddleware
from tests.images import encode, photo
from tests.serving.conftest import App

MakeApp = Callable[..., App]
IMAGE_FILE = encode(photo())
REQUESTS = "http_server_request_duration_seconds"
PNG = {"content-type": "image/png"}


def code_of(response: Any, status: int | None = None) -> str:
    """The code of an error; checks that the answer is our one shape throughout."""
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert list(body) == ["error"]
    error = body["error"]
    assert set(error) == {"code", "message", "request_id"}
    assert error["request_id"] == response.headers["x-request-id"]
    assert error["message"]
    assert CODES[error["code"]].status == response.status_code
    assert status in (None, response.status_code)
    return str(error["code"])


@pytest.mark.parametrize("code", [code for code in CODES if code != "method_not_allowed"])
def test_every_code_is_answered_in_the_one_shape(code: str, make_app: MakeApp) -> None:
    app = make_app()

    async def fail(_: Request) -> Response:
        raise RequestError(code, "a sentence")

    app.routes["/model"] = {"GET": fail}
    response = app.get("/model")
    assert code_of(response) == code
    assert response.json()["error"]["message"] == "a sentence"
    assert ("retry-after" in response.headers) == (CODES[code].status in (429, 503))
    assert ("www-authenticate" in response.headers) == (CODES[code].status == 401)
    assert app.count("alexnet_errors_total", code=code) == 1


def test_a_mistake_of_ours_is_500_and_its_trace_is_in_the_log_alone(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LOGGER, "propagate", True)
    app = make_app()

    async def fail(_: Request) -> Response:
        raise KeyError("secret detail")

    app.routes["/model"] = {"GET": fail}
    response = app.get("/model")
    assert code_of(response, 500) == "internal_error"
    assert "secret" not in response.text
    assert "secret detail" in caplog.text
    assert response.headers["x-request-id"] in [getattr(record, "request_id", None) for record in caplog.records]


def test_running_out_of_memory_is_overload(make_app: MakeApp) -> None:
    app = make_app()

    async def fail(_: Request) -> Response:
        raise MemoryError

    app.routes["/model"] = {"GET": fail}
    response = app.get("/model")
    assert code_of(response, 503) == "overloaded"
    assert response.headers["retry-after"] == "1"


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 413, 418, 429, 500, 501, 503, 504])
def test_whatever_error_bentoml_has_is_given_our_shape(status: int, make_app: MakeApp) -> None:
    app = make_app(PlainTextResponse("a text, or a list", status, {"allow": "GET", "x-bentoml": "1"}))
    response = app.get("/livez")
    assert app.seen == ["/livez"]
    error = response.json()["error"]
    assert set(error) == {"code", "message", "request_id"}
    assert response.status_code == CODES[error["code"]].status
    assert response.status_code // 100 == status // 100
    assert "x-bentoml" not in response.headers
    assert response.headers.get("allow") == ("GET" if status == 405 else None)


def test_what_bentoml_answers_well_comes_through(make_app: MakeApp) -> None:
    app = make_app()
    for path in ("/livez", "/healthz", "/schema.json", "/static_content/swagger-ui.css"):
        assert app.get(path).text == "BentoML's own"
    assert len(app.seen) == 4


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/classify/",
        "/Classify",
        "/classify%0A",
        "/classify%00",
        "/classify;x",
        "/classify%2F",
        "/classify_batch%0A",
        "/livez%0A",
        "/metrics%0A",
        "/v1/classify",
        "/classify/submit",
        "/is_ready",
        "/static_content",
        "/.env",
        "/%F0%9F%90%B1",
        "/" + "a" * 5_000,
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_other_path_reaches_bentoml(path: str, method: str, make_app: MakeApp) -> None:
    app = make_app()
    response = app.request(method, path, content=IMAGE_FILE if method == "POST" else None)
    assert code_of(response, 404) == "not_found"
    assert app.seen == []
    assert len(response.content) < 1_000


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_a_method_that_a_route_does_not_take_is_405_with_those_it_takes(method: str, make_app: MakeApp) -> None:
    app = make_app()
    for path, methods in app.routes.items():
        if method not in methods and not path.startswith(("/ui/", "/v2")):
            response = app.request(method, path)
            assert code_of(response, 405) == "method_not_allowed"
            allowed = response.headers["allow"].split(", ")
            assert set(methods) <= set(allowed)
            assert ("HEAD" in allowed) == ("GET" in methods)


def test_head_is_get_without_a_body(make_app: MakeApp) -> None:
    app = make_app()
    head, get = app.request("HEAD", "/model"), app.get("/model")
    assert head.status_code == 200
    assert head.headers["content-length"] == get.headers["content-length"]


@pytest.mark.parametrize("given", ["abc", "A-1.b_2", "0" * 64])
def test_a_plain_request_id_is_echoed_in_answers_and_errors(given: str, make_app: MakeApp) -> None:
    app = make_app()
    for path in ("/model", "/nothing", "/livez"):
        response = app.get(path, headers={"x-request-id": given})
        assert response.headers["x-request-id"] == given
    assert app.get("/nothing", headers={"x-request-id": given}).json()["error"]["request_id"] == given


@pytest.mark.parametrize("given", ["", "a b", "0" * 65, "<script>", 'a"b', "ä", "a,b"])
def test_any_other_request_id_is_replaced(given: str, make_app: MakeApp) -> None:
    response = make_app().get("/nothing", headers={"x-request-id": given.encode("latin-1")})
    assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])
    assert code_of(response) == "not_found"


def test_request_ids_differ(make_app: MakeApp) -> None:
    app = make_app()
    assert len({app.get("/model").headers["x-request-id"] for _ in range(20)}) == 20


# --- keys

OPEN = ("/livez", "/readyz", "/healthz", "/docs", "/docs.json", "/schema.json", "/ui", "/metrics")
CLOSED = (("GET", "/model"), ("POST", "/classify"), ("POST", "/classify_batch"), ("POST", "/preview"))


@pytest.mark.parametrize("key", ["old-key", "new-key"])
def test_each_of_several_keys_opens_every_route(key: str, make_app: MakeApp) -> None:
    app = make_app(api_keys="old-key,new-key")
    for scheme in ("Bearer", "bearer", "BEARER"):
        headers = {"authorization": f"{scheme} {key}"}
        assert app.get("/model", headers=headers).status_code == 200
        assert app.post("/classify", content=IMAGE_FILE, headers={**headers, **PNG}).status_code == 200


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Bearer old-ke",
        "Bearer old-keyy",
        "Bearer OLD-KEY",
        "Bearer old-key,new-key",
        "Bearer old-key new-key",
        "Basic old-key",
        "old-key",
        "Bearer \xff\xfe",
    ],
)
def test_no_or_a_wrong_key_is_401_everywhere_but_on_probes_and_pages(
    authorization: str | None, make_app: MakeApp
) -> None:
    app = make_app(api_keys="old-key,new-key")
    headers = {} if authorization is None else {"authorization": authorization.encode("latin-1")}
    for method, path in CLOSED:
        response = app.request(method, path, headers=headers)
        assert code_of(response, 401) == "unauthorized"
        assert response.headers["www-authenticate"] == "Bearer"
        assert "old-key" not in response.text
    for path in OPEN:
        assert app.get(path, headers=headers).status_code == 200
    # What does not exist is not told apart from what needs a key.
    assert app.get("/nothing", headers=headers).status_code == 401
    assert app.get("/uiother", headers=headers).status_code == 401


def test_a_key_is_checked_before_a_byte_of_the_body_is_read(make_app: MakeApp) -> None:
    app = make_app(api_keys="key")
    order: list[str] = []

    async def classify(_: Request) -> Response:
        order.append("classify")
        return PlainTextResponse("")

    app.routes["/classify"] = {"POST": classify}
    assert code_of(app.post("/classify", content=IMAGE_FILE, headers=PNG), 401) == "unauthorized"
    assert order == []


def test_metrics_can_be_closed(make_app: MakeApp) -> None:
    app = make_app(api_keys="key", public_metrics=False)
    assert code_of(app.get("/metrics"), 401) == "unauthorized"
    assert app.get("/metrics", headers={"authorization": "Bearer key"}).status_code == 200


def test_without_keys_everything_is_open(make_app: MakeApp) -> None:
    app = make_app(public_metrics=False)
    for path in (*OPEN, "/model"):
        assert app.get(path).status_code == 200


@pytest.mark.parametrize("authorization", ["Bearer first", "Bearer third", "Bearer none", ""])
def test_every_key_is_compared_in_constant_time_whichever_fits(
    authorization: str, make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []
    compare = middleware.hmac.compare_digest
    monkeypatch.setattr(middleware.hmac, "compare_digest", lambda a, b: compared.append(b) or compare(a, b))
    app = make_app(api_keys="first,second,third")
    app.get("/model", headers={"authorization": authorization})
    assert compared == [hashlib.sha256(key).digest() for key in (b"first", b"second", b"third")]


# --- CORS

ORIGIN = {"origin": "https://page.example"}
PREFLIGHT = {
    **ORIGIN,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-request-id",
}


def test_cors_is_off_by_default(make_app: MakeApp) -> None:
    app = make_app()
    assert code_of(app.request("OPTIONS", "/classify", headers=PREFLIGHT), 405) == "method_not_allowed"
    assert not [name for name in app.get("/model", headers=ORIGIN).headers if name.startswith("access-control")]


def test_a_preflight_works_without_a_key_where_keys_are_needed(make_app: MakeApp) -> None:
    app = make_app(api_keys="key", cors_origins="https://page.example,https://other.example")
    response = app.request("OPTIONS", "/classify", headers=PREFLIGHT)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "https://page.example"
    assert "POST" in response.headers["access-control-allow-methods"]
    allowed = response.headers["access-control-allow-headers"].lower()
    assert {"authorization", "content-type", "x-request-id"} <= set(allowed.split(", "))


def test_the_request_that_follows_still_needs_its_key_and_its_errors_can_be_read(make_app: MakeApp) -> None:
    app = make_app(api_keys="key", cors_origins="https://page.example")
    refused = app.post("/classify", content=IMAGE_FILE, headers={**ORIGIN, **PNG})
    assert code_of(refused, 401) == "unauthorized"
    assert refused.headers["access-control-allow-origin"] == "https://page.example"
    assert "x-request-id" in refused.headers["access-control-expose-headers"]
    answered = app.post("/classify", content=IMAGE_FILE, headers={**ORIGIN, **PNG, "authorization": "Bearer key"})
    assert answered.status_code == 200
    assert answered.headers["access-control-allow-origin"] == "https://page.example"


def test_another_origin_is_not_allowed(make_app: MakeApp) -> None:
    app = make_app(cors_origins="https://page.example")
    other = {**PREFLIGHT, "origin": "https://evil.example"}
    response = app.request("OPTIONS", "/classify", headers=other)
    assert "access-control-allow-origin" not in response.headers
    assert code_of(response, 400) == "client_error"


def test_all_origins_can_be_allowed(make_app: MakeApp) -> None:
    app = make_app(cors_origins="*")
    assert app.get("/model", headers=ORIGIN).headers["access-control-allow-origin"] == "*"


# --- counting and logging


def test_requests_are_counted_by_route_method_and_status_with_few_labels(make_app: MakeApp) -> None:
    app = make_app()
    app.post("/classify", content=IMAGE_FILE, headers=PNG)
    app.post("/classify", content=b"no image", headers=PNG)
    for number in range(50):
        app.get(f"/scan/{number}")
        app.request(f"M{number}", "/model")
    assert (
        app.count(
            f"{REQUESTS}_count", http_route="/classify", http_request_method="POST", http_response_status_code="200"
        )
        == 1
    )
    assert (
        app.count(
            f"{REQUESTS}_count", http_route="/classify", http_request_method="POST", http_response_status_code="415"
        )
        == 1
    )
    assert (
        app.count(f"{REQUESTS}_count", http_route="other", http_request_method="GET", http_response_status_code="404")
        == 50
    )
    assert (
        app.count(
            f"{REQUESTS}_count", http_route="/model", http_request_method="other", http_response_status_code="405"
        )
        == 50
    )
    assert app.count("alexnet_errors_total", code="unsupported_format") == 1
    assert app.count("http_server_active_requests") == 0
    for name in ("page.css", "page.js", "favicon.svg"):
        app.get(f"/ui/{name}")
    assert (
        app.count(f"{REQUESTS}_count", http_route="/ui/*", http_request_method="GET", http_response_status_code="200")
        == 3
    )
    series = app.metrics.render().count(f"{REQUESTS}_count{{".encode())
    assert series == 5


def test_who_has_the_first_byte_of_an_answer_finds_it_counted(make_app: MakeApp) -> None:
    app = make_app()
    counted = []

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            status = str(message["status"])
            counted.append(
                app.count(
                    f"{REQUESTS}_count",
                    http_route="/classify",
                    http_request_method="POST",
                    http_response_status_code=status,
                )
            )

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"no image", "more_body": False}

    headers = [(b"content-length", b"8"), (b"content-type", b"image/png")]
    scope = {"type": "http", "method": "POST", "path": "/classify", "query_string": b"", "headers": headers}
    asyncio.run(app.middleware(scope, receive, send))  # type: ignore[arg-type]
    assert counted == [1]


def test_a_log_line_has_the_request_id_and_nothing_of_the_image(
    make_app: MakeApp, capsys: pytest.CaptureFixture[str]
) -> None:
    app = make_app(api_keys="secret-key", log_format="json")
    form = {"image": ("private-name.jpg", b"private-content", "image/jpeg")}
    headers = {"authorization": "Bearer secret-key", "x-request-id": "abc"}
    app.post("/classify?private=query", files=form, headers=headers)
    (line,) = capsys.readouterr().out.splitlines()
    logged = json.loads(line)
    assert logged["request_id"] == "abc"
    assert (logged["route"], logged["status"], logged["code"]) == ("/classify", 415, "unsupported_format")
    assert logged["milliseconds"] > 0
    assert "private" not in line
    assert "secret" not in line


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("traceparent", "trace_id"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", TRACE),
        (f"01-{TRACE}-00f067aa0ba902b7-00-more", TRACE),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", None),
        ("nonsense", None),
    ],
)
def test_the_trace_of_a_request_is_logged(
    traceparent: str, trace_id: str | None, make_app: MakeApp, capsys: pytest.CaptureFixture[str]
) -> None:
    make_app(log_format="json").get("/model", headers={"traceparent": traceparent})
    assert json.loads(capsys.readouterr().out)["trace_id"] == trace_id


def test_the_access_log_can_be_switched_off(make_app: MakeApp, capsys: pytest.CaptureFixture[str]) -> None:
    make_app(access_log=False).get("/model")
    assert not capsys.readouterr().out


def test_a_log_that_nobody_reads_fails_no_request(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app()
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert app.get("/model").status_code == 200
        monkeypatch.undo()
        with suppress(BrokenPipeError):
            closed.close()


# --- requests of one client at once


def test_a_client_has_no_more_requests_in_progress_than_it_may_and_others_are_not_affected() -> None:
    started, release = asyncio.Event(), asyncio.Event()

    async def work(scope: Scope, receive: Receive, send: Send) -> None:
        started.set()
        await release.wait()

    async def nothing(*_: Any) -> Any:
        raise AssertionError

    async def code(app: ASGIApp, client: str, path: str = "/classify") -> str | None:
        try:
            await app({"type": "http", "path": path, "client": (client, 4711)}, nothing, nothing)
        except RequestError as error:
            return error.code
        return None

    async def main() -> None:
        app = ClientLimitMiddleware(work, 2)
        first = [asyncio.create_task(code(app, "10.0.0.1")) for _ in range(2)]
        await started.wait()
        assert await code(app, "10.0.0.1") == "too_many_requests"
        other = asyncio.create_task(code(app, "10.0.0.2"))
        probe = asyncio.create_task(code(app, "10.0.0.1", "/readyz"))
        await asyncio.sleep(0)
        release.set()
        assert await asyncio.gather(*first, other, probe) == [None] * 4
        assert await code(app, "10.0.0.1") is None  # and later ones are taken again
        assert not app._in_progress

    asyncio.run(main())
