"""What the metrics are called and that they add up over workers."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from alexnet.paths import ROOT
from serving.metrics import Metrics, process_families

WORKER = """
import sys
from pathlib import Path
from alexnet.inference.prediction import LabelScore, Prediction
from serving.metrics import Metrics
metrics = Metrics(Path(sys.argv[1]))
for _ in range(3):
    metrics.count_request("POST", "/classify", 200, 0.003)
metrics.batch_size.observe(7)
metrics.active_requests.inc()
metrics.count_prediction(Prediction((LabelScore("cat", 0.9),), True, 2.2))
metrics.count_prediction(Prediction((LabelScore("dog", 0.9),), False, -0.7))
print(metrics.render().decode(), flush=True)
sys.stdin.read()
"""


@contextmanager
def worker(folder: Path) -> Iterator[str]:
    """What a process renders that has counted; it lives until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder)],
        env={"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        lines = []
        while not lines or not lines[-1].startswith("process_max_fds "):
            lines.append(process.stdout.readline())
            assert lines[-1]
        yield "".join(lines)


def samples_of(text: str) -> dict[tuple[str, str | None], float]:
    """Values by name and bucket."""
    return {
        (sample.name, sample.labels.get("le")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_they_can_be_read_by_prometheus() -> None:
    metrics = Metrics()
    metrics.count_request("POST", "/classify", 200, 0.1)
    with metrics.stage("decode"):
        pass
    names = {family.name for family in text_string_to_metric_families(metrics.render().decode())}
    assert {
        "http_server_request_duration_seconds",
        "alexnet_stage_seconds",
        "alexnet_errors",
        "alexnet_batch_size",
    } <= names


def test_the_counts_of_two_processes_add_up(tmp_path: Path) -> None:
    with worker(tmp_path), worker(tmp_path) as text:
        samples = samples_of(text)
    assert samples[("http_server_request_duration_seconds_count", None)] == 6
    assert samples[("http_server_request_duration_seconds_bucket", "0.002")] == 0
    assert samples[("http_server_request_duration_seconds_bucket", "0.005")] == 6
    assert samples[("alexnet_unknown_total", None)] == 2
    assert samples[("alexnet_ood_score_count", None)] == 4
    assert samples[("alexnet_ood_score_bucket", "-0.5")] == 2
    assert samples[("alexnet_ood_score_bucket", "2.0")] == 2
    assert samples[("alexnet_ood_score_bucket", "2.5")] == 4
    assert samples[("alexnet_batch_size_count", None)] == 2
    assert samples[("alexnet_batch_size_bucket", "4.0")] == 0
    assert samples[("alexnet_batch_size_bucket", "8.0")] == 2
    assert samples[("alexnet_batch_size_bucket", "+Inf")] == 2
    assert samples[("http_server_active_requests", None)] == 2


def test_of_a_process_that_has_ended_only_the_gauges_are_gone(tmp_path: Path) -> None:
    with worker(tmp_path):
        pass
    samples = samples_of(Metrics(tmp_path).render().decode())
    assert samples[("http_server_request_duration_seconds_count", None)] == 3
    assert samples[("http_server_active_requests", None)] == 0
    alone = samples_of(Metrics().render().decode())
    assert samples[("process_open_fds", None)] == pytest.approx(alone[("process_open_fds", None)], abs=5)


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    metrics.count_error("overloaded")
    (names,) = tmp_path.glob("*.names")
    with names.open("a") as file:
        file.write('["alexnet_err')
    assert samples_of(metrics.render().decode())[("alexnet_errors_total", None)] == 1


def test_a_process_of_the_same_number_does_not_begin_anew(tmp_path: Path) -> None:
    for _ in range(2):
        Metrics(tmp_path).count_error("overloaded")
    assert samples_of(Metrics(tmp_path).render().decode())[("alexnet_errors_total", None)] == 2


def test_no_increment_of_several_threads_is_lost() -> None:
    metrics = Metrics()
    threads = [threading.Thread(target=lambda: [metrics.queue.observe(1) for _ in range(20_000)]) for _ in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert metrics.registry.get_sample_value("alexnet_stage_seconds_sum", {"stage": "queue"}) == 80_000


def test_a_stage_that_fails_is_timed_too() -> None:
    metrics = Metrics()
    try:
        with metrics.stage("decode"):
            raise ValueError
    except ValueError:
        pass
    assert metrics.registry.get_sample_value("alexnet_stage_seconds_count", {"stage": "decode"}) == 1


def test_the_processes_of_the_workers_are_added_up() -> None:
    def values(*pids: int) -> dict[str, float]:
        return {family.name: family.samples[0].value for family in process_families(pids)}

    ended = 999_999_999
    found, mine, parents = values(os.getpid(), os.getppid(), ended), values(os.getpid()), values(os.getppid())
    assert found["process_open_fds"] == pytest.approx(mine["process_open_fds"] + parents["process_open_fds"], abs=2)
    assert found["process_resident_memory_bytes"] == pytest.approx(
        mine["process_resident_memory_bytes"] + parents["process_resident_memory_bytes"], rel=0.1
    )
    assert found["process_cpu_seconds"] >= mine["process_cpu_seconds"] * 0.9
    assert found["process_start_time_seconds"] == parents["process_start_time_seconds"]
