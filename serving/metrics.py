"""What the service counts, for Prometheus at `/metrics`.

In: events of requests. Out: the text format of Prometheus, added up over all workers. HTTP metrics are named as
OpenTelemetry's semantic conventions do (https://opentelemetry.io/docs/specs/semconv/http/http-metrics/), those of the
processes as Prometheus' client libraries do. Labels take few values, whatever clients send.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from alexnet.inference.classifier import Classifier
from alexnet.inference.prediction import Prediction
from serving.metric_store import Definition, Histogram, Store, Value

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

_SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_STAGES: Final = ("queue", "decode", "inference", "encode")

_REQUEST_SECONDS: Final = Definition(
    "histogram",
    "http_server_request_duration_seconds",
    "Seconds until the answer to a request is known, by method, route and status.",
    ("http_request_method", "http_route", "http_response_status_code"),
    _SECONDS,
)
_ACTIVE_REQUESTS: Final = Definition("gauge", "http_server_active_requests", "Requests in flight.")
_ERRORS: Final = Definition("counter", "alexnet_errors", "Errors told to clients, by code.", ("code",))
_ANSWERS: Final = Definition("counter", "alexnet_answers", "Images classified, by the best class.", ("label",))
_UNKNOWN: Final = Definition("counter", "alexnet_unknown", "Images that are probably none of the classes.")
_OOD_SCORE: Final = Definition(
    "histogram",
    "alexnet_ood_score",
    "OOD score of the images classified: where it moves, the images no longer are as those of the training.",
    bounds=(-4.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0),
)
_STAGE_SECONDS: Final = Definition(
    "histogram",
    "alexnet_stage_seconds",
    "Where the time of a classification goes: queue, decode, inference, encode.",
    ("stage",),
    _SECONDS,
)
_BATCH_SIZE: Final = Definition(
    "histogram",
    "alexnet_batch_size",
    "Images in one run of the model.",
    bounds=(1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0),
)
_MODEL_INFO: Final = Definition(
    "gauge",
    "alexnet_model_info",
    "Always 1; the labels say which model runs, and where.",
    ("name", "sha256", "provider"),
    largest=True,
)
_DEGRADED: Final = Definition(
    "gauge", "alexnet_degraded", "1 where a GPU is preferred and the CPU computes, else 0.", largest=True
)
DEFINITIONS: Final = (
    _REQUEST_SECONDS,
    _ACTIVE_REQUESTS,
    _ERRORS,
    _ANSWERS,
    _UNKNOWN,
    _OOD_SCORE,
    _STAGE_SECONDS,
    _BATCH_SIZE,
    _MODEL_INFO,
    _DEGRADED,
)


class Metrics:
    """Those of this process, and of all others with the same `folder`; without one, of this process alone."""

    def __init__(self, folder: Path | None = None) -> None:
        self._store = Store(folder)
        self.registry = CollectorRegistry()
        self.registry.register(_Families(self._store))
        self._requests: dict[tuple[str, str, int], Histogram] = {}
        self._errors: dict[str, Value] = {}
        self._answers: dict[str, Value] = {}
        self._stages = {name: self._store.histogram(_STAGE_SECONDS, (name,)) for name in _STAGES}
        self.active_requests = self._store.value(_ACTIVE_REQUESTS)
        self.queue = self._stages["queue"]
        self.batch_size = self._store.histogram(_BATCH_SIZE)
        self._ood_score = self._store.histogram(_OOD_SCORE)
        self._unknown = self._store.value(_UNKNOWN)
        self._degraded = self._store.value(_DEGRADED)

    def describe_model(self, classifier: Classifier) -> None:
        """Say which model runs."""
        self._store.value(_MODEL_INFO, (classifier.name, classifier.sha256, classifier.provider)).set(1)
        self._degraded.set(classifier.degraded)

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request whose answer is known."""
        key = (method, route, status)
        if key not in self._requests:
            self._requests[key] = self._store.histogram(_REQUEST_SECONDS, (method, route, str(status)))
        self._requests[key].observe(seconds)

    def count_error(self, code: str) -> None:
        """Count an error that a client is told."""
        if code not in self._errors:
            self._errors[code] = self._store.value(_ERRORS, (code,))
        self._errors[code].inc()

    def count_prediction(self, prediction: Prediction) -> None:
        """Count an image that was classified."""
        label = prediction.label
        if label not in self._answers:
            self._answers[label] = self._store.value(_ANSWERS, (label,))
        self._answers[label].inc()
        if prediction.is_ood:
            self._unknown.inc()
        if prediction.ood_score is not None:
            self._ood_score.observe(prediction.ood_score)

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Add the time of the block to the stage `name`."""
        return _Timer(self._stages[name])

    def render(self) -> bytes:
        """The current values of all workers in the text format."""
        return generate_latest(self.registry)


class _Timer(AbstractContextManager[None]):
    __slots__ = ("_histogram", "_started")

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._histogram.observe(time.perf_counter() - self._started)


class _Families(Collector):
    """What `DEFINITIONS` say, and `process_*` of all processes together."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        """In this order."""
        yield from self._store.collect(DEFINITIONS)
        yield from process_families(self._store.processes())


def process_families(pids: Sequence[int]) -> Iterator[Metric]:
    """`process_*`: sums over the processes; of the times of start the first."""
    values: dict[str, list[float]] = {}
    families: dict[str, Metric] = {}
    for pid in pids:
        # Without a registry of its own it would be registered with that of the process.
        found = ProcessCollector(pid=lambda pid=pid: pid, registry=CollectorRegistry()).collect()  # type: ignore[misc]
        for family in found:
            families[family.name] = family
            values.setdefault(family.name, []).append(family.samples[0].value)
    for name, family in families.items():
        value = min(values[name]) if name == "process_start_time_seconds" else sum(values[name])
        made = CounterMetricFamily if family.type == "counter" else GaugeMetricFamily
        yield made(name, family.documentation, value=value)
