"""The same table from Ray Data, also when one of two workers is killed in the middle."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from alexnet.paths import ROOT

pytest.importorskip("ray", reason="ray is not installed: pip install -r requirements/ray.txt")

from alexnet.batch import command as batch
from alexnet.batch.table import parts_folder
from tests.conftest import FIXTURE
from tests.models import write_model

PART = 10
PARTS = 20
WORKER = "ray::MapWorker"


def workers(driver: int) -> list[psutil.Process]:
    """The processes that predict, below the process of the command."""
    try:
        return [p for p in psutil.Process(driver).children(recursive=True) if p.name().startswith(WORKER)]
    except psutil.NoSuchProcess:
        return []


def listening(driver: int) -> set[str]:
    """The addresses on which the processes below that of the command wait for connections."""
    found = set()
    for process in psutil.Process(driver).children(recursive=True):
        try:
            found |= {c.laddr.ip for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
        except psutil.NoSuchProcess:
            continue
    return found


def count_parts(output: Path) -> int:
    return len(list(parts_folder(output).glob("0*.csv")))


@pytest.fixture(scope="module")
def slow(session_path: Path) -> Path:
    """A model that takes a moment for each part, so that there is a middle."""
    return write_model(session_path / "cluster" / "slow.onnx", rounds=500)


def test_a_killed_worker_costs_no_row_and_doubles_none(slow: Path, tmp_path: Path) -> None:
    whole, output = tmp_path / "whole.csv", tmp_path / "out.csv"
    assert batch.predict([str(FIXTURE)], slow, batch.Options(output=whole, part=PART)) == 0
    # As many CPUs as the test is about, wherever it runs.
    code = "import sys; from alexnet.batch import ray_backend; from alexnet.cli import main; "
    code += "ray_backend.usable_cpus = lambda: 2; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "predict", str(FIXTURE), "--model", str(slow), "--output", str(output)]
    with (tmp_path / "log").open("w") as log:
        running = subprocess.Popen([*command, "--part", str(PART), "--ray", "local"], cwd=ROOT, stdout=log, stderr=log)
        try:
            seen: set[int] = set()
            killed, addresses = None, set[str]()
            deadline = time.monotonic() + 180
            while running.poll() is None and time.monotonic() < deadline:
                alive = workers(running.pid)
                seen |= {process.pid for process in alive}
                if killed is None and len(seen) >= 2 and count_parts(output) >= 2:
                    assert count_parts(output) < PARTS - 5, "no middle: make the model slower"
                    addresses = listening(running.pid)
                    killed = alive[0].pid
                    alive[0].kill()
                time.sleep(0.02)
        finally:
            if running.poll() is None:
                running.kill()
            running.wait(30)
    text = (tmp_path / "log").read_text()
    assert running.returncode == 0, text
    assert killed is not None
    assert {address.removeprefix("::ffff:") for address in addresses} == {"127.0.0.1"}
    assert len(seen) >= 2, "the killed one was the only worker"
    assert output.read_bytes() == whole.read_bytes()
    assert "200 images, none of them with an error" in " ".join(text.split())


def test_a_cluster_that_is_not_there_is_one_line(slow: Path, tmp_path: Path) -> None:
    command = ["predict", str(FIXTURE), "--model", str(slow), "--output", str(tmp_path / "out.csv")]
    process = [sys.executable, "-m", "alexnet", *command, "--ray", "127.0.0.1:1"]
    done = subprocess.run(process, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("alexnet: --ray 127.0.0.1:1: no Ray there ")
    assert done.stderr.count("\n") == 1
