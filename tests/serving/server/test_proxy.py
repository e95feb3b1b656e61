"""Behind a proxy: a path prefix, and the client's address."""

import re
from collections.abc import Iterator

import httpx
import pytest

from benchmarks.harness import Server
from tests.images import encode, photo
from tests.serving.conftest import StartService, log_lines

IMAGE = encode(photo(), "JPEG")


@pytest.fixture(scope="module")
def proxied(start_service: StartService) -> Iterator[Server]:
    """A service behind a proxy on this machine, which has it under a prefix."""
    with start_service(
        ALEXNET_ROOT_PATH="/apps/alex", ALEXNET_TRUSTED_PROXIES="127.0.0.0/8", ALEXNET_CLIENT_CONCURRENCY="4"
    ) as server:
        yield server


@pytest.mark.parametrize("prefix", ["/apps/alex", ""])
def test_the_prefix_may_be_left_in_the_path_or_not(prefix: str, proxied: Server) -> None:
    assert httpx.get(f"{proxied.url}{prefix}/readyz").status_code == 200
    assert httpx.post(f"{proxied.url}{prefix}/classify", content=IMAGE).status_code == 200
    assert httpx.get(f"{proxied.url}{prefix}/ui").status_code == 200


@pytest.mark.parametrize("path", ["/apps/alexandra/readyz", "/apps/readyz", "/apps/alex/apps/alex/readyz"])
def test_what_only_looks_like_the_prefix_is_not_found(path: str, proxied: Server) -> None:
    assert httpx.get(proxied.url + path).status_code == 404


def client_of(server: Server, request_id: str, **headers: str) -> str | None:
    """The client's address in the log line of a request with these headers."""
    httpx.get(server.url + "/model", headers={"x-request-id": request_id, **headers})
    (line,) = log_lines(server, f"request_id={request_id} ")
    found = re.search(r" client=(\S+)", line)
    return found and found[1]


def test_a_trusted_proxy_names_the_client_and_nobody_else_does(proxied: Server, service: Server) -> None:
    forwarded = {"x-forwarded-for": "203.0.113.7, 127.0.0.9"}
    assert client_of(proxied, "first", **forwarded) == "203.0.113.7"
    assert client_of(proxied, "second") == "127.0.0.1"
    assert client_of(service, "third", **forwarded) == "127.0.0.1"
