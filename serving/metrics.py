"""What the service counts, for Prometheus at `/metrics`.

In: events of requests. Out: the text format of Prometheus, added up over all workers. BentoML's own request metrics are
switched off: they keep a time series for each path that anyone asks for, so that a scanner fills the memory.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

_SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_BATCH: Final = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Make it once in a process, after BentoML has named the folder that the workers share (it does so at start)."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._registry = registry
        self.requests = Counter(
            "alexnet_requests", "Requests answered.", ["route", "method", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "alexnet_request_seconds", "Time until the answer is known.", ["route"], buckets=_SECONDS, registry=registry
        )
        self.in_progress = Gauge(
            "alexnet_requests_in_progress", "Requests not answered yet.", multiprocess_mode="livesum", registry=registry
        )
        self.stage_seconds = Histogram(
            "alexnet_stage_seconds",
            "Where the time of a classification goes: queue, decode, inference, encode.",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._stages = {name: self.stage_seconds.labels(name) for name in ("queue", "decode", "inference", "encode")}
        self.queue = self._stages["queue"]
        self.batch_size = Histogram(
            "alexnet_batch_size", "Images in one run of the model.", buckets=_BATCH, registry=registry
        )
        self.answers = Counter("alexnet_answers", "Images classified, by the best class.", ["label"], registry=registry)
        self.errors = Counter("alexnet_errors", "Errors told to clients, by code.", ["code"], registry=registry)
        self.model_info = Gauge(
            "alexnet_model_info",
            "Always 1; the labels say which model runs, and where.",
            ["name", "sha256", "provider", "degraded"],
            multiprocess_mode="livemax",
            registry=registry,
        )

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to the stage `name`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._stages[name].observe(time.perf_counter() - started)

    def render(self) -> bytes:
        """The current values of all workers in the text format."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)
