"""Starting: what is wrong is one line and a non-zero exit, and what is unusual works, and is said."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from benchmarks.harness import ROOT, kill_tree
from tests.images import encode, photo
from tests.models import write_model
from tests.serving.conftest import StartService

IMAGE_FILE = encode(photo(), "JPEG")
NO_GPU = {"CUDA_VISIBLE_DEVICES": "-1"}

WARM = """
import tempfile
from pathlib import Path
import onnxruntime
from serving import settings
from serving.server import worker
calls = []
run = onnxruntime.InferenceSession.run
def count(self, names, feed):
    calls.append(feed["pixels"].shape)
    return run(self, names, feed)
onnxruntime.InferenceSession.run = count
worker.make(settings.load(), "", Path(tempfile.mkdtemp()))
print(calls)
"""


def failed_start(home: Path, **environment: str) -> tuple[int, str]:
    """Exit code and what `bentoml serve` said on standard error, started with this environment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", str(port)]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ALEXNET_")}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**inherited, "BENTOML_HOME": str(home), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        output, errors = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:  # it did start
        kill_tree(process.pid)
        raise
    assert "Traceback" not in output + errors
    assert "Starting production" not in output + errors  # it was never ready
    return process.returncode, errors.strip()


def damaged(kind: str, folder: Path) -> Path:
    """A model file with this fault."""
    path = folder / "model.onnx"
    if kind == "cut short":
        write_model(path)
        path.write_bytes(path.read_bytes()[:50_000])
    elif kind == "without metadata":
        write_model(path, metadata={})
    return path


@pytest.mark.parametrize("kind", ["missing", "cut short", "without metadata"])
def test_a_missing_cut_or_unlabelled_model_is_one_line_and_a_non_zero_exit(kind: str, tmp_path: Path) -> None:
    path = damaged(kind, tmp_path)
    code, line = failed_start(tmp_path, ALEXNET_MODEL=str(path), ALEXNET_WORKERS="2")  # both of which say it
    assert code != 0
    assert len(line.splitlines()) == 1
    assert str(path) in line
    assert "export" in line


def test_wrong_settings_are_one_line_and_a_non_zero_exit(tmp_path: Path, tiny_model: Path) -> None:
    code, line = failed_start(
        tmp_path, ALEXNET_MODEL=str(tiny_model), ALEXNET_QUEUE="many", ALEXNET_API_KEYS="secret-4711,,"
    )
    assert code != 0
    assert len(line.splitlines()) == 1
    assert "ALEXNET_QUEUE" in line
    assert "ALEXNET_API_KEYS" in line
    assert "secret-4711" not in line


def test_a_required_gpu_that_is_missing_is_one_line_and_a_non_zero_exit(tmp_path: Path, tiny_model: Path) -> None:
    code, lines = failed_start(tmp_path, ALEXNET_MODEL=str(tiny_model), ALEXNET_GPU="require", **NO_GPU)
    assert code != 0
    *diagnosis, line = lines.splitlines()
    assert "a GPU is required and cannot be used: " in line
    assert all("onnxruntime" in text or len(text) < 5 for text in diagnosis)  # ONNX Runtime's own, and its colours


@pytest.fixture
def both_runtimes(tmp_path: Path) -> Path:
    """A folder that makes it seem as if both packages of ONNX Runtime were installed."""
    for package in ("onnxruntime", "onnxruntime_gpu"):
        folder = tmp_path / f"{package}-1.99.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package.replace('_', '-')}\nVersion: 1.99\n")
    return tmp_path


@pytest.mark.skipif(not shutil.which("taskset"), reason="taskset is not installed")
def test_a_preferred_gpu_that_is_missing_is_said_everywhere_and_threads_follow_the_allowed_cpus(
    start_service: StartService, both_runtimes: Path
) -> None:
    cpu = str(min(os.sched_getaffinity(0)))
    settings = {"ALEXNET_GPU": "prefer", "ALEXNET_THREADS": "0", "PYTHONPATH": str(both_runtimes), **NO_GPU}
    with start_service(("taskset", "-c", cpu), **settings) as server:
        runtime = httpx.get(server.url + "/model").json()["runtime"]
        assert runtime["provider"] == "CPUExecutionProvider"
        assert runtime["degraded"] is True
        assert runtime["threads"] == 1
        ready = httpx.get(server.url + "/readyz").json()
        assert ready == {"ready": True, "provider": "CPUExecutionProvider", "degraded": True}
        metrics = httpx.get(server.url + "/metrics").text.splitlines()
        assert "alexnet_degraded 1.0" in metrics
        assert any('provider="CPUExecutionProvider"' in line for line in metrics if "alexnet_model_info{" in line)
        answer = httpx.post(server.url + "/classify", content=IMAGE_FILE, headers={"content-type": "image/jpeg"}).json()
        assert answer["model"]["degraded"] is True
        log = server.log.read_text()
        assert "onnxruntime and onnxruntime-gpu are both installed" in log


@pytest.mark.parametrize(("allowed", "workers", "expected"), [(8, 1, 8), (8, 2, 4), (8, 3, 2), (1, 4, 1)])
def test_workers_have_all_cpus_and_share_them_when_busy(
    allowed: int, workers: int, expected: int, tiny_model: Path, tmp_path: Path
) -> None:
    code = f"import alexnet.inference.cpus as c; c.usable_cpus = lambda: {allowed}\n"
    code += "from serving import app, settings\nfrom serving.server import worker\nfound = []\n"
    code += (
        "worker.Api.__init__ = lambda self, classifier, _, metrics, capacity: found.append((classifier, capacity))\n"
    )
    code += "worker.Api.handlers = lambda _: {}\n"
    code += f"worker.make(settings.load(), '', worker.Path({str(tmp_path)!r}))\n((classifier, capacity),) = found\n"
    code += "print(classifier.threads, capacity.concurrency, capacity.share)"
    found = imported(code, tiny_model, ALEXNET_WORKERS=str(workers))
    assert found == f"{allowed} {allowed} {expected}"


def test_the_process_that_starts_the_workers_loads_neither_the_model_nor_its_runtime(tiny_model: Path) -> None:
    code = "import sys\nfrom serving.server import supervisor\nprint({'onnxruntime', 'bentoml'} & set(sys.modules))"
    assert imported(code, tiny_model) == "set()"


def test_a_worker_does_without_bentoml(tiny_model: Path) -> None:
    code = "import sys\nfrom serving.server import worker\nprint([n for n in sys.modules if n.startswith('bentoml')])"
    assert imported(code, tiny_model) == "[]"


def test_the_model_is_warm_before_connections_are_accepted(tiny_model: Path) -> None:
    assert "(1, 32, 32, 3)" in imported(WARM, tiny_model)


def imported(code: str, model: Path, **environment: str) -> str:
    """What a Python process prints that imports `serving.service` with this environment."""
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "ALEXNET_MODEL": str(model), **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return found.stdout.strip()


def test_a_request_that_comes_while_the_service_starts_waits_and_is_answered(
    start_service: StartService, slow_model: Path
) -> None:
    # `start_service` asks for /readyz from the first moment on; the connection is open before the model is warm.
    with start_service(ALEXNET_MODEL=str(slow_model)) as server:
        log = server.log.read_text()
        assert "status=503" not in log
        assert "status=500" not in log
        assert httpx.post(server.url + "/classify", content=IMAGE_FILE, timeout=30).status_code == 200


# In namespaces of its own: no network but the loopback, nothing to write but /tmp, a limit of one CPU as containers
# have one, and then, with no privilege left, as a user that does not exist. Should this Python lie in root's home,
# where no other user may go, an open folder takes the home's place. A checkout
# that was covered by these folders is laid there again, read-only.
CONFINE = """
set -e
exec 3< "$1"
mount --make-rprivate /
mount --bind "$3" /mnt
mount -t tmpfs tmpfs /tmp
chmod 1777 /tmp
cat <&3 > /tmp/model.onnx
case "$2" in /root/*)
    mkdir /tmp/python
    mount --bind "$2" /tmp/python
    mount -t tmpfs -o mode=755 tmpfs /root
    mkdir -p "$2"
    mount --bind /tmp/python "$2"
esac
case "$3" in /tmp/* | /root/*)
    mkdir -p "$3"
    mount --bind /mnt "$3"
    mount -o remount,ro,bind "$3"
esac
umount /mnt
cd "$3"
mount -t tmpfs tmpfs /sys/fs/cgroup
echo "100000 100000" > /sys/fs/cgroup/cpu.max
mount -o remount,ro,bind /
ip link set lo up
shift 3
exec setpriv --reuid 54321 --regid 54321 --clear-groups env -u HOME "$@"
"""
CONFINED = """
import json, os, pwd, socket, urllib.request
from pathlib import Path
from benchmarks.harness import serving

def attempt(action):
    try:
        action()
    except (OSError, KeyError) as error:
        return type(error).__name__
    return "possible"

found = {
    "write": attempt(lambda: Path("written").write_text("")),
    "user": attempt(lambda: pwd.getpwuid(os.getuid())),
    "network": attempt(lambda: socket.create_connection(("192.0.2.1", 80), 1)),
}
with serving(ALEXNET_MODEL="/tmp/model.onnx") as server:
    content = bytes.fromhex(os.environ["IMAGE_FILE"])
    with urllib.request.urlopen(server.url + "/model") as answer:
        found["threads"] = json.load(answer)["runtime"]["threads"]
    with urllib.request.urlopen(server.url + "/metrics") as answer:
        found["metrics"] = answer.status
    request = urllib.request.Request(server.url + "/classify", content, {"Content-Type": "image/jpeg"})
    with urllib.request.urlopen(request) as answer:
        found["classes"] = len(json.load(answer)["predictions"])
print(json.dumps(found))
"""


def can_confine() -> str | None:
    """Why the next test cannot be run here; None when it can."""
    if os.geteuid() != 0:
        return "only root may make namespaces for another user"
    for command in ("unshare", "setpriv", "ip", "mount"):
        if not shutil.which(command):
            return f"{command} is not installed"
    probe = ["unshare", "-m", "-n", "mount", "-t", "tmpfs", "tmpfs", "/tmp"]
    if subprocess.run(probe, capture_output=True).returncode:
        return "namespaces and mounts are not permitted here"
    python = ["setpriv", "--reuid", "54321", "--clear-groups", "env", sys.executable, "-c", "import bentoml"]
    if not sys.base_prefix.startswith("/root/") and subprocess.run(python, capture_output=True, cwd=ROOT).returncode:
        return "another user cannot run this Python"
    return None


def test_it_works_without_network_on_a_read_only_file_system_as_an_unknown_user(tiny_model: Path) -> None:
    if reason := can_confine():
        pytest.skip(reason)
    found = subprocess.run(
        [
            "unshare",
            "-m",
            "-n",
            "bash",
            "-c",
            CONFINE,
            "confine",
            str(tiny_model),
            sys.base_prefix,
            str(ROOT),
            sys.executable,
            "-c",
            CONFINED,
        ],
        cwd=ROOT,
        env={**os.environ, "IMAGE_FILE": IMAGE_FILE.hex(), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout) == {
        "write": "OSError",
        "user": "KeyError",
        "network": "OSError",
        "threads": 1,
        "metrics": 200,
        "classes": 5,
    }
