"""The same images over HTTP and by torch: what differs is counted, and who cannot be compared is refused."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from alexnet.cli import main
from alexnet.datasets import Images
from alexnet.errors import UserError
from alexnet.evaluation import evaluate, service_parity
from alexnet.evaluation.metrics import Metrics
from alexnet.evaluation.scores import differences
from alexnet.inference.classifier import Classifier
from benchmarks.harness import Server, serving
from tests.models import write_model

Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(scope="module")
def model(session_path: Path) -> Path:
    """A model with an OOD output."""
    return write_model(session_path / "parity" / "model.onnx", detects_ood=True)


@pytest.fixture(scope="module")
def service(model: Path) -> Any:
    """A real service that serves it to those who have a key."""
    with serving(ALEXNET_MODEL=str(model), ALEXNET_THREADS="1", ALEXNET_API_KEYS="new,old") as server:
        yield server


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[Handler], None]:
    """`answer(handler)` lets that function answer in place of a service."""

    def install(handler: Handler) -> None:
        client = functools.partial(httpx.Client, transport=httpx.MockTransport(handler))
        monkeypatch.setattr(httpx, "Client", client)

    return install


def test_a_running_service_answers_as_its_file(
    tmp_path: Path,
    model: Path,
    service: Server,
    data_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(service_parity.KEYS, "old")
    words = ["evaluate", str(model), "--data", str(data_root), "--output", str(tmp_path)]
    assert main([*words, "--url", service.url + "/"]) == 0
    found = Metrics.read(tmp_path, "").parity["http"]
    assert (found.images, found.different_classes, found.different_ood) == (200, 0, 0)
    assert 0 < found.largest_difference < 1e-6  # the service gives six digits
    assert "http against the file: 0 of 200 images differ in the class" in capsys.readouterr().out
    assert main(words) == 0
    assert Metrics.read(tmp_path, "").parity["http"] == found  # kept
    monkeypatch.setenv(service_parity.KEYS, "wrong")
    assert main([*words, "--url", service.url]) == 1
    assert f"{service.url} wants an API key; put one it knows into {service_parity.KEYS}\n" in capsys.readouterr().err


def test_a_service_with_another_model_is_refused(
    tmp_path: Path, service: Server, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(service_parity.KEYS, "new,old")
    other = write_model(tmp_path / "other.onnx")
    with pytest.raises(UserError, match="serves another model, sha256"):
        evaluate.evaluate(evaluate.Request(other, data_root, tmp_path / "measured", url=service.url))
    assert not (tmp_path / "measured").exists()


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http://127.0.0.1:9", "nothing answers at http://127.0.0.1:9; start the service"),
        ("127.0.0.1:3000", "give an address as http://127.0.0.1:3000"),
    ],
)
def test_an_address_where_nothing_is_is_one_line(model: Path, url: str, complaint: str) -> None:
    with pytest.raises(UserError) as error:
        service_parity.Service(url, Classifier(model))
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "response", [httpx.Response(200, text="<html>"), httpx.Response(200, json=[]), httpx.Response(200, json={})]
)
def test_another_program_is_not_taken_for_the_service(
    model: Path, answer: Callable[[Handler], None], response: httpx.Response
) -> None:
    answer(lambda _: response)
    with pytest.raises(UserError, match="is not this service; give another --url"):
        service_parity.Service("http://elsewhere", Classifier(model))


def test_other_answers_are_counted_and_a_busy_service_is_asked_again(
    model: Path, answer: Callable[[Handler], None], fixture_images: Images
) -> None:
    classifier, pixels, busy = Classifier(model), fixture_images.pixels[:50], [503, 429]
    own = classifier.run(pixels)
    told = own.probabilities.copy()
    second, best = np.argsort(told[3])[-2:]
    told[3, [best, second]] = told[3, [second, best]]
    told[7] *= 0.5
    assert own.is_ood is not None
    identity = {"name": "tiny", "sha256": classifier.sha256}

    def respond(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/model":
            return httpx.Response(200, json=identity)
        if busy:
            return httpx.Response(busy.pop(), headers={"Retry-After": "0"}, json={"error": {}})
        results = []
        for row, unknown in zip(told, own.is_ood, strict=True):
            order = np.argsort(-row)
            results.append(
                {
                    "predictions": [{"label": classifier.classes[i], "score": float(row[i])} for i in order],
                    "unknown": bool(unknown) != (len(results) < 2),
                }
            )
        first = len(request.content) > 0 and b"31.png" in request.content  # the batch of 32; the other has 18
        return httpx.Response(200, json={"results": results[:32] if first else results[32:], "model": identity})

    answer(respond)
    with service_parity.Service("http://elsewhere", classifier) as service:
        found = differences(own, service.ask(pixels, 256))
    assert not busy
    assert (found.images, found.different_classes, found.different_ood) == (50, 1, 2)
    expected = float(np.abs(told - own.probabilities).max())
    assert found.largest_difference == pytest.approx(expected, abs=1e-8)


def ours_at_first(classifier: Classifier, then: httpx.Response) -> Handler:
    """A service that says it serves the file of `classifier`, and answers `then` when it is asked."""
    ours = httpx.Response(200, json={"sha256": classifier.sha256})
    return lambda request: ours if request.url.path == "/model" else then


def test_a_model_that_changes_while_it_is_asked_is_noticed(
    model: Path, answer: Callable[[Handler], None], fixture_images: Images
) -> None:
    classifier = Classifier(model)

    answer(ours_at_first(classifier, httpx.Response(200, json={"results": [], "model": {"sha256": "0" * 64}})))
    with (
        service_parity.Service("http://elsewhere", classifier) as service,
        pytest.raises(UserError, match="another model"),
    ):
        service.ask(fixture_images.pixels, 32)


def test_a_service_that_stays_busy_is_given_up(model: Path, answer: Callable[[Handler], None]) -> None:
    answer(lambda _: httpx.Response(503, headers={"Retry-After": "0"}))
    with pytest.raises(UserError, match="was busy 8 times in a row"):
        service_parity.Service("http://elsewhere", Classifier(model))


def test_an_error_of_the_service_is_told(
    model: Path, answer: Callable[[Handler], None], fixture_images: Images
) -> None:
    classifier = Classifier(model)

    answer(ours_at_first(classifier, httpx.Response(413, json={"error": {"code": "too_many_images"}})))
    with (
        service_parity.Service("http://elsewhere", classifier) as service,
        pytest.raises(UserError, match="too_many_images"),
    ):
        service.ask(fixture_images.pixels, 32)
