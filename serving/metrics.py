"""What the service counts, for Prometheus at `/metrics`.

In: events of requests. Out: the text format of Prometheus, added up over all workers. HTTP metrics are named as
OpenTelemetry's semantic conventions do (https://opentelemetry.io/docs/specs/semconv/http/http-metrics/), those of the
processes as Prometheus' client libraries do. Labels take few values, whatever clients send.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.context_managers import Timer
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from alexnet.inference.classifier import Classifier
from alexnet.inference.prediction import Prediction

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_BATCH: Final = (1, 2, 4, 8, 16, 32, 64, 128)
_OOD_SCORE: Final = (-4, -2, -1, -0.5, 0, 0.5, 1, 1.5, 2, 2.5, 3, 4, 6, 10)
_STAGES: Final = ("queue", "decode", "inference", "encode")


class Metrics:
    """Make it once in a process, after `PROMETHEUS_MULTIPROC_DIR` names the folder that the workers share."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._registry = registry
        self._request_seconds = Histogram(
            "http_server_request_duration_seconds",
            "Seconds until the answer to a request is known, by method, route and status.",
            ["http_request_method", "http_route", "http_response_status_code"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.active_requests = Gauge(
            "http_server_active_requests", "Requests in flight.", multiprocess_mode="livesum", registry=registry
        )
        self.errors = Counter("alexnet_errors", "Errors told to clients, by code.", ["code"], registry=registry)
        self.answers = Counter("alexnet_answers", "Images classified, by the best class.", ["label"], registry=registry)
        self.unknown = Counter("alexnet_unknown", "Images that are probably none of the classes.", registry=registry)
        self.ood_score = Histogram(
            "alexnet_ood_score",
            "OOD score of the images classified: where it moves, the images no longer are as those of the training.",
            buckets=_OOD_SCORE,
            registry=registry,
        )
        stage_seconds = Histogram(
            "alexnet_stage_seconds",
            "Where the time of a classification goes: queue, decode, inference, encode.",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._stages = {name: stage_seconds.labels(name) for name in _STAGES}
        self.queue = self._stages["queue"]
        self.batch_size = Histogram(
            "alexnet_batch_size", "Images in one run of the model.", buckets=_BATCH, registry=registry
        )
        self._model_info = Gauge(
            "alexnet_model_info",
            "Always 1; the labels say which model runs, and where.",
            ["name", "sha256", "provider"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._degraded = Gauge(
            "alexnet_degraded",
            "1 where a GPU is preferred and the CPU computes, else 0.",
            multiprocess_mode="livemax",
            registry=registry,
        )

    def describe_model(self, classifier: Classifier) -> None:
        """Say which model runs."""
        self._model_info.labels(classifier.name, classifier.sha256, classifier.provider).set(1)
        self._degraded.set(classifier.degraded)

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request whose answer is known."""
        self._request_seconds.labels(method, route, status).observe(seconds)

    def count_prediction(self, prediction: Prediction) -> None:
        """Count an image that was classified."""
        self.answers.labels(prediction.label).inc()
        if prediction.is_ood:
            self.unknown.inc()
        if prediction.ood_score is not None:
            self.ood_score.observe(prediction.ood_score)

    def stage(self, name: str) -> Timer:
        """Add the time of the block to the stage `name`."""
        return self._stages[name].time()

    def render(self) -> bytes:
        """The current values of all workers in the text format."""
        if _FOLDER not in os.environ:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        together.register(WorkerProcesses(Path(os.environ[_FOLDER])))
        return generate_latest(together)


class WorkerProcesses(Collector):
    """`process_*` of all workers together: those that have metrics of live processes in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        """Sums over the workers; of the times of start the first."""
        pids = {path.stem.rpartition("_")[2] for path in self._folder.glob("gauge_live*_*.db")}
        values: dict[str, list[float]] = {}
        families: dict[str, Metric] = {}
        for pid in pids:
            # Without a registry of its own it would be registered with that of the process.
            found = ProcessCollector(pid=lambda pid=pid: int(pid), registry=CollectorRegistry()).collect()  # type: ignore[misc]
            for family in found:
                families[family.name] = family
                values.setdefault(family.name, []).append(family.samples[0].value)
        for name, family in families.items():
            value = min(values[name]) if name == "process_start_time_seconds" else sum(values[name])
            made = CounterMetricFamily if family.type == "counter" else GaugeMetricFamily
            yield made(name, family.documentation, value=value)
