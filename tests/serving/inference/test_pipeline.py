"""Where work is done: small images where they arrive, the model there too while nobody else is, the rest in threads."""

import asyncio
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from alexnet.inference.classifier import Classifier
from serving.body.request import ClassifyRequest
from serving.errors import RequestError
from serving.inference import pipeline
from serving.inference.pipeline import Pipeline
from serving.metrics import Metrics
from serving.settings import Settings
from tests.images import encode, photo

SMALL = encode(photo().resize((32, 32)), "PNG")
LARGE = encode(photo().resize((900, 700)), "JPEG")
# A BMP file of a few bytes that claims 72 megapixels.
PROMISE = b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 9000, 8000, 1, 24, 0, 0, 0, 0, 0, 0)


class Threads:
    """Which thread decodes and which runs the model."""

    def __init__(
        self, model: Path, monkeypatch: pytest.MonkeyPatch, in_flight: Callable[[], int], **settings: Any
    ) -> None:
        self.decoding: list[str] = []
        self.running: list[str] = []
        classifier = Classifier(model, threads=1)
        self.pipeline = Pipeline(classifier, Settings(**settings), Metrics(CollectorRegistry()), 2, in_flight)
        decode, answer = pipeline.decode, classifier.run

        def watched_decode(*arguments: Any) -> Any:
            self.decoding.append(threading.current_thread().name.partition("-")[0])
            return decode(*arguments)

        def watched_answer(*arguments: Any, **options: Any) -> Any:
            self.running.append(threading.current_thread().name.partition("-")[0])
            return answer(*arguments, **options)

        monkeypatch.setattr(pipeline, "decode", watched_decode)
        monkeypatch.setattr(classifier, "run", watched_answer)

    def ask(self, *images: bytes) -> Any:
        return asyncio.run(self.pipeline.classify(ClassifyRequest(list(images), 3)))


HERE = threading.current_thread().name.partition("-")[0]


def test_a_small_image_that_is_alone_is_answered_where_it_arrives(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = Threads(tiny_model, monkeypatch, lambda: 1)
    (result,) = threads.ask(SMALL)
    assert len(result.top) == 3
    assert (threads.decoding, threads.running) == ([HERE], [HERE])


def test_with_others_there_the_model_runs_in_its_thread_and_answers_the_same(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = Threads(tiny_model, monkeypatch, lambda: 1).ask(SMALL)
    threads = Threads(tiny_model, monkeypatch, lambda: 2)
    assert threads.ask(SMALL) == alone
    assert (threads.decoding[-1:], threads.running) == ([HERE], ["model"])


def test_a_slow_model_never_runs_where_requests_arrive(slow_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads(slow_model, monkeypatch, lambda: 1)
    threads.ask(SMALL)
    assert threads.running == ["model"]


@pytest.mark.parametrize("images", [(LARGE,), (SMALL, SMALL)])
def test_what_takes_its_time_is_decoded_in_a_thread(
    images: tuple[bytes, ...], tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = Threads(tiny_model, monkeypatch, lambda: 1)
    assert len(threads.ask(*images)) == len(images)
    assert set(threads.decoding) <= {"classify_0", "classify_1"}
    assert set(threads.running) == {"model"}


def test_few_bytes_that_claim_many_pixels_are_judged_by_the_real_limit(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = Threads(tiny_model, monkeypatch, lambda: 1)
    (error,) = threads.ask(PROMISE)
    assert isinstance(error, RequestError)
    assert error.code == "too_many_pixels"
    assert "64 megapixels" in str(error)
    (strict,) = Threads(tiny_model, monkeypatch, lambda: 1, max_pixels=100).ask(SMALL)
    assert strict.code == "too_many_pixels"


def test_who_finds_no_place_is_told_so_before_anything_is_decoded(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = Threads(tiny_model, monkeypatch, lambda: 1, queue=0)
    threads.pipeline._pool.pending = 2
    for image in (SMALL, LARGE):
        with pytest.raises(RequestError) as refused:
            threads.ask(image)
        assert refused.value.code == "overloaded"
    assert threads.decoding == []


def test_the_model_is_warm_before_the_first_request(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[np.ndarray] = []
    classifier = Classifier(tiny_model, threads=1)
    run = classifier.run
    monkeypatch.setattr(classifier, "run", lambda pixels: (runs.append(pixels), run(pixels))[1])
    Pipeline(classifier, Settings(), Metrics(CollectorRegistry()), 1, lambda: 1)
    assert runs
