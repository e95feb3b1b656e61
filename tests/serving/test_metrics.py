"""What the metrics are called and that they add up over workers."""

import subprocess
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from alexnet.paths import ROOT
from serving.metrics import Metrics

WORKER = """
from serving.metrics import Metrics
metrics = Metrics()
metrics.requests.labels("/classify", "POST", 200).inc(3)
metrics.batch_size.observe(7)
metrics.model_info.labels("m", "abc", "CPU", "False").set(1)
print(metrics.render().decode())
"""


def test_they_can_be_read_by_prometheus() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.requests.labels("/classify", "POST", 200).inc()
    with metrics.stage("decode"):
        pass
    names = {family.name for family in text_string_to_metric_families(metrics.render().decode())}
    assert {"alexnet_requests", "alexnet_stage_seconds", "alexnet_errors", "alexnet_batch_size"} <= names


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
    assert samples[("alexnet_requests_total", None)] == 6
    assert samples[("alexnet_batch_size_count", None)] == 2
    assert samples[("alexnet_batch_size_bucket", "4.0")] == 0
    assert samples[("alexnet_batch_size_bucket", "8.0")] == 2
    assert samples[("alexnet_batch_size_bucket", "+Inf")] == 2
    assert samples[("alexnet_model_info", None)] == 1


def test_a_stage_that_fails_is_timed_too() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    try:
        with metrics.stage("decode"):
            raise ValueError
    except ValueError:
        pass
    assert registry.get_sample_value("alexnet_stage_seconds_count", {"stage": "decode"}) == 1
