"""What the metrics are called and that they add up over workers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from alexnet.paths import ROOT
from serving.metrics import Metrics, WorkerProcesses

WORKER = """
from alexnet.inference.prediction import LabelScore, Prediction
from serving.metrics import Metrics
metrics = Metrics()
for _ in range(3):
    metrics.count_request("POST", "/classify", 200, 0.003)
metrics.batch_size.observe(7)
metrics.active_requests.inc()
metrics.count_prediction(Prediction((LabelScore("cat", 0.9),), True, 2.2))
metrics.count_prediction(Prediction((LabelScore("dog", 0.9),), False, -0.7))
print(metrics.render().decode())
"""


def test_they_can_be_read_by_prometheus() -> None:
    metrics = Metrics(CollectorRegistry())
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
    for _ in range(2):
        result = subprocess.run(
            [sys.executable, "-c", WORKER],
            env={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
    samples = {
        (sample.name, sample.labels.get("le")): sample.value
        for family in text_string_to_metric_families(result.stdout)
        for sample in family.samples
    }
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


def test_a_stage_that_fails_is_timed_too() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    try:
        with metrics.stage("decode"):
            raise ValueError
    except ValueError:
        pass
    assert registry.get_sample_value("alexnet_stage_seconds_count", {"stage": "decode"}) == 1


def test_the_processes_of_the_workers_are_added_up(tmp_path: Path) -> None:
    (tmp_path / f"gauge_livesum_{os.getpid()}.db").touch()
    (tmp_path / f"gauge_livesum_{os.getppid()}.db").touch()
    (tmp_path / "gauge_livesum_999999999.db").touch()  # ended meanwhile
    (tmp_path / "counter_1.db").touch()
    found = {family.name: family.samples[0].value for family in WorkerProcesses(tmp_path).collect()}
    alone = {}
    for pid in (os.getpid(), os.getppid()):
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / f"gauge_livesum_{pid}.db").touch()
        alone[pid] = {family.name: family.samples[0].value for family in WorkerProcesses(folder).collect()}
    mine, parents = alone.values()
    assert found["process_open_fds"] == pytest.approx(mine["process_open_fds"] + parents["process_open_fds"], abs=2)
    assert found["process_resident_memory_bytes"] == pytest.approx(
        mine["process_resident_memory_bytes"] + parents["process_resident_memory_bytes"], rel=0.1
    )
    assert found["process_cpu_seconds"] >= mine["process_cpu_seconds"] * 0.9
    assert found["process_start_time_seconds"] == parents["process_start_time_seconds"]
