"""The processes of the service: whom they listen to, what they leave behind, and when they give up."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import zmq

from benchmarks.harness import PORT, Server, is_ready, kill_tree, running
from tests.images import encode, photo
from tests.models import write_model
from tests.serving.conftest import StartService

IMAGE = encode(photo(), "JPEG")
MARGIN = 20.0  # seconds that a busy machine may take


@pytest.fixture(scope="module")
def pair(start_service: StartService) -> Iterator[Server]:
    """A service with two workers."""
    with start_service(ALEXNET_WORKERS="2") as server:
        until(lambda: len(workers(server)) == 2)
        yield server


def workers(server: Server) -> list[psutil.Process]:
    return psutil.Process(server.process.pid).children()


def runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + MARGIN
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


def folders(server: Server) -> set[Path]:
    """The private folders that the command lines of the workers name."""
    return {Path(line[line.index("--folder") + 1]) for line in (worker.cmdline() for worker in workers(server))}


def test_nobody_but_its_clients_can_reach_the_service(pair: Server) -> None:
    tree = [psutil.Process(pair.process.pid), *workers(pair)]
    inet = {c.laddr.port for p in tree for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    assert inet == {pair.port}
    named = {c.laddr for p in tree for c in p.net_connections("unix") if c.laddr}
    assert named == set()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_another_user_can_command_nothing_and_reads_nothing(pair: Server) -> None:
    places = folders(pair)
    child = os.fork()  # this Python may lie where another user cannot start it
    if not child:
        code = 1
        try:
            os.setgid(65534)
            os.setuid(65534)
            code = 10 * sum(commandable(port, pair.process.pid) for port in listening_ports() - {pair.port})
            code += sum(readable(place) for place in places)
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def listening_ports() -> set[int]:
    """All TCP ports of IPv4 on this machine where somebody listens."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(line[1].split(":")[1], 16) for line in lines if line[3] == "0A"}


def commandable(port: int, pid: int) -> bool:
    """Whether circus answers there, and knows the process `pid`."""
    stream = zmq.Context().socket(zmq.DEALER)
    stream.linger = 0
    stream.connect(f"tcp://127.0.0.1:{port}")
    stream.send(b'{"id": "1", "command": "dstats", "properties": {}}')
    return bool(stream.poll(300)) and str(pid).encode() in b"".join(stream.recv_multipart())


def readable(folder: Path) -> bool:
    try:
        return bool(list(folder.iterdir()))
    except PermissionError:
        return False


def test_its_folder_is_its_users_alone_and_goes_with_it(start_service: StartService) -> None:
    with start_service() as server:
        (folder,) = folders(server)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert list(folder.glob("*.numbers"))
        assert server.stop() == 0
        assert not folder.exists()


def test_two_services_of_one_user_do_not_mix_their_metrics(start_service: StartService, tmp_path: Path) -> None:
    def count(server: Server) -> float:
        lines = httpx.get(server.url + "/metrics").text.splitlines()
        return sum(
            float(line.split()[-1])
            for line in lines
            if line.startswith('http_server_request_duration_seconds_count{http_request_method="POST"')
        )

    home = {"BENTOML_HOME": str(tmp_path)}
    with start_service(**home) as first:
        for _ in range(3):
            httpx.post(first.url + "/classify", content=IMAGE)
        assert count(first) == 3
        with start_service(**home) as second:
            httpx.post(second.url + "/classify", content=IMAGE)
            assert (count(first), count(second)) == (3, 1)
        assert count(first) == 3


def test_a_worker_that_dies_is_replaced_by_one_with_the_same_model(start_service: StartService, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.onnx")
    with start_service(ALEXNET_MODEL=str(model)) as server:
        (worker,) = workers(server)
        before = httpx.get(server.url + "/model").json()["sha256"]
        worker.kill()
        until(lambda: [w.pid for w in workers(server)] not in ([], [worker.pid]))
        assert httpx.get(server.url + "/model", timeout=MARGIN).json()["sha256"] == before


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
def test_a_killed_supervisor_leaves_no_workers_and_its_folder_to_the_next_start(start_service: StartService) -> None:
    with start_service(ALEXNET_WORKERS="2") as server:
        until(lambda: len(workers(server)) == 2)
        orphans = workers(server)
        places = folders(server)
        server.process.kill()
        until(lambda: not any(map(runs, orphans)))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))
    with start_service():
        assert not any(place.exists() for place in places)


@pytest.mark.parametrize("broken", [False, True])
def test_a_worker_that_finds_another_model_ends_the_service_with_one_line(
    broken: bool, start_service: StartService, tmp_path: Path
) -> None:
    model = write_model(tmp_path / "model.onnx")
    with start_service(ALEXNET_MODEL=str(model), ALEXNET_WORKERS="2") as server:
        until(lambda: server.log.read_text().count(" is ready on ") == 2)  # both have read the file
        model.unlink()
        if broken:
            model.write_bytes(b"nonsense")
        else:
            write_model(model, rounds=3)
        workers(server)[0].kill()
        assert server.process.wait(MARGIN) == 1
        last = server.log.read_text().splitlines()[-1]
        assert last.startswith(f"alexnet: {model}: ")
        assert ("restart the service" in last) != broken
        assert "Traceback" not in server.log.read_text()


def test_a_taken_port_is_one_line_that_names_it(pair: Server, tiny_model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bentoml", "serve", "--port", str(pair.port)]
    environment = {**os.environ, "ALEXNET_MODEL": str(tiny_model), "BENTOML_HOME": str(tmp_path)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert re.search(rf"port {pair.port} of 127\.0\.0\.1 is taken; .*--port", line)
    assert result.stdout == ""


def test_without_a_host_only_this_machine_is_served(tiny_model: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "ALEXNET_MODEL": str(tiny_model), "BENTOML_HOME": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "bentoml", "serve", "--port", str(port)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert f"is ready on http://127.0.0.1:{port}" in process.stdout.readline()
        tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children()]
        places = {c.laddr for p in tree for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN}
        assert places == {("127.0.0.1", port)}
        process.send_signal(signal.SIGTERM)
        assert process.wait(MARGIN) == 0
    finally:
        if process.poll() is None:
            kill_tree(process.pid)


def test_bentoml_serve_starts_the_same_service_and_says_what_of_its_configuration_is_replaced(tiny_model: Path) -> None:
    command = [sys.executable, "-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", PORT]
    settings = {
        "ALEXNET_MODEL": str(tiny_model),
        "ALEXNET_WORKERS": "1",
        "BENTOML_CONFIG_OPTIONS": "services.http.cors.enabled=true services.traffic.max_concurrency=3",
        "BENTOML_TIMEOUT": "7",
    }
    with running(command, is_ready, settings) as server:
        assert httpx.post(server.url + "/classify", content=IMAGE).status_code == 200
        assert [c.cmdline()[3] for c in workers(server)] == ["serving.server.worker"]
        log = server.log.read_text()
        assert server.stop() == 0
    assert "BentoML's http.cors.enabled has no effect here; instead: ALEXNET_CORS_ORIGINS" in log
    assert "BentoML's traffic.max_concurrency has no effect here" in log
    assert "--timeout has no effect here; instead: ALEXNET_TIME_LIMIT" in log
    assert log.count("has no effect") == 3
