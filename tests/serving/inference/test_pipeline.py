"""Where work is done: small images where they arrive, the model there too while nobody else is, the rest in threads."""

import asyncio
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alexnet.inference.classifier import Classifier
from serving.errors import RequestError
from serving.inference import decoding
from serving.inference.pipeline import Capacity, ClassifyRequest, Pipeline
from serving.limits import memory_budget
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
        self,
        model: Path,
        monkeypatch: pytest.MonkeyPatch,
        in_flight: Callable[[], int],
        *,
        threads: int = 2,
        share: int | None = None,
        **settings: Any,
    ) -> None:
        self.decoding: list[str] = []
        self.running: list[str] = []
        classifier = Classifier(model, threads=1)
        self.pipeline = make_pipeline(classifier, Settings(**settings), in_flight, threads, share)
        decode, answer = decoding.decode, classifier.run

        def watched_decode(*arguments: Any) -> Any:
            self.decoding.append(threading.current_thread().name.partition("-")[0])
            return decode(*arguments)

        def watched_answer(*arguments: Any, **options: Any) -> Any:
            self.running.append(threading.current_thread().name.partition("-")[0])
            return answer(*arguments, **options)

        monkeypatch.setattr(decoding, "decode", watched_decode)
        monkeypatch.setattr(classifier, "run", watched_answer)

    def ask(self, *images: bytes) -> Any:
        return asyncio.run(self.pipeline.classify(ClassifyRequest(list(images), 3)))


def make_pipeline(
    classifier: Classifier,
    settings: Settings,
    in_flight: Callable[[], int] = lambda: 1,
    threads: int = 2,
    share: int | None = None,
) -> Pipeline:
    metrics = Metrics()
    return Pipeline(classifier, settings, metrics, memory_budget(settings), Capacity(threads, in_flight, share))


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


@pytest.mark.parametrize(("share", "where"), [(1, HERE), (2, "model"), (None, "model")])
def test_a_worker_of_one_cpu_runs_the_model_itself(
    share: int | None, where: str, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = Threads(tiny_model, monkeypatch, lambda: 1).ask(SMALL)
    threads = Threads(tiny_model, monkeypatch, lambda: 2, share=share)
    assert threads.ask(SMALL) == alone
    assert threads.running == [where]


def test_a_worker_of_one_cpu_runs_several_small_images_itself_and_leaves_large_ones_to_threads(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = Threads(tiny_model, monkeypatch, lambda: 2, share=1)
    small, broken, large = threads.ask(SMALL, b"x", SMALL)
    assert small == large
    assert broken.code == "unsupported_format"
    assert (set(threads.decoding), threads.running) == ({HERE}, [HERE])
    mixed = threads.ask(SMALL, LARGE, b"x")
    assert mixed[0] == small
    assert mixed[2].code == "unsupported_format"
    assert (threads.decoding[-1], threads.running[-1]) == ("decode", "model")
    assert len(threads.ask(*[SMALL] * 64)) == 64


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
    assert set(threads.decoding) <= {"decode"}
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
    threads.pipeline._admission.pending = 2
    for image in (SMALL, LARGE):
        with pytest.raises(RequestError) as refused:
            threads.ask(image)
        assert refused.value.code == "overloaded"
    assert threads.decoding == []


@pytest.mark.parametrize(("share", "expected"), [(None, {True}), (1, {True, False})])
def test_the_sessions_that_the_event_loop_runs_are_warm_before_the_first_request(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, share: int | None, expected: set[bool]
) -> None:
    runs: set[bool] = set()
    classifier = Classifier(tiny_model, threads=1)
    run = classifier.run
    monkeypatch.setattr(classifier, "run", lambda pixels, *, alone: (runs.add(alone), run(pixels, alone=alone))[1])
    make_pipeline(classifier, Settings(), share=share)
    assert runs == expected


def test_images_of_a_batch_that_fail_leave_the_others_in_their_places(tiny_model: Path) -> None:
    pipeline = make_pipeline(Classifier(tiny_model, threads=1), Settings())
    bad = RequestError("invalid_base64", "x")
    images = [b"x" if n % 7 == 3 else bad if n % 7 == 5 else encode(photo(seed=n)) for n in range(75)]

    async def main() -> Any:
        together = await pipeline.classify(ClassifyRequest(list(images), 3))
        alone = [(await pipeline.classify(ClassifyRequest([image], 3)))[0] for image in images]
        return together, alone

    together, alone = asyncio.run(main())
    for result, expected in zip(together, alone, strict=True):
        if isinstance(expected, RequestError):
            assert result.code == expected.code
        else:
            assert [label for label, _ in result.top] == [label for label, _ in expected.top]
            assert [p for _, p in result.top] == pytest.approx([p for _, p in expected.top], abs=2e-6)


def test_running_out_of_memory_is_overload_and_not_a_damaged_image(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise MemoryError

    threads = Threads(tiny_model, monkeypatch, lambda: 1)
    monkeypatch.setattr(decoding, "decode", fail)
    for image in (SMALL, LARGE):
        (error,) = threads.ask(image)
        assert error.code == "overloaded"
        assert error.status == 503


def test_a_batch_lets_single_images_pass_between_its_images(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one thread, and 64 images that take 20 ms each: 1.3 s, if the single image had to wait for the batch."""
    decode = decoding.decode

    def slow(*arguments: Any) -> Any:
        time.sleep(0.02)
        return decode(*arguments)

    monkeypatch.setattr(decoding, "decode", slow)
    made = make_pipeline(Classifier(tiny_model, threads=1), Settings(), threads=1)

    async def main() -> None:
        batch = asyncio.create_task(made.classify(ClassifyRequest([LARGE] * 64, 3)))
        await asyncio.sleep(0.1)
        for _ in range(5):
            started = time.perf_counter()
            await made.classify(ClassifyRequest([LARGE], 3))
            assert time.perf_counter() - started < 0.3
        assert not batch.done()
        assert len(await batch) == 64

    asyncio.run(main())


def test_a_batch_whose_time_is_up_stops_decoding_and_gives_its_place_back(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = Threads(tiny_model, monkeypatch, lambda: 2, time_limit=0.3)
    decode = decoding.decode

    def slow(*arguments: Any) -> Any:
        time.sleep(0.05)
        return decode(*arguments)

    monkeypatch.setattr(decoding, "decode", slow)

    async def main() -> None:
        with pytest.raises(RequestError) as caught:
            await threads.pipeline.classify(ClassifyRequest([LARGE] * 64, 3))
        assert caught.value.code == "timed_out"
        await asyncio.sleep(0.2)
        assert threads.pipeline._admission.pending == 0
        assert 1 <= len(threads.decoding) <= 8

    asyncio.run(main())


def webp(width: int, height: int) -> bytes:
    """The header of a lossless WebP file, of a few bytes whatever its size."""
    bits = (width - 1) | (height - 1) << 14
    chunk = b"\x2f" + struct.pack("<I", bits) + bytes(12)
    return b"RIFF" + struct.pack("<I", 12 + len(chunk)) + b"WEBPVP8L" + struct.pack("<I", len(chunk)) + chunk


def test_what_can_never_fit_in_memory_is_refused_from_the_header(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {"decode_memory_limit": 100_000_000, "max_held_bytes": 20_000_000}
    threads = Threads(tiny_model, monkeypatch, lambda: 1, **limits)
    for bomb in (webp(8_000, 8_000), webp(5_000, 4_000)):
        (error,) = threads.ask(bomb)
        assert error.code == "too_many_pixels"
        assert error.status == 422
        assert "ALEXNET_DECODE_MEMORY_LIMIT" in str(error)
    assert threads.decoding == [HERE, HERE]  # where small files arrive, up to the header
    results = threads.ask(webp(8_000, 8_000), SMALL, webp(8_000, 8_000))
    assert [getattr(result, "code", None) for result in results] == ["too_many_pixels", None, "too_many_pixels"]


def test_images_are_decoded_at_once_only_as_far_as_memory_lasts(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """30 MB for each of these: two of three threads may work, the third waits."""
    large = encode(Image.new("RGB", (3_000, 2_400)), "PNG")
    made = make_pipeline(
        Classifier(tiny_model, threads=1),
        Settings(decode_memory_limit=100_000_000, max_held_bytes=25_000_000),
        threads=3,
    )
    now, most, lock, decode = 0, 0, threading.Lock(), decoding.decode

    def watched(*arguments: Any) -> Any:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        with lock:
            now -= 1
        return decode(SMALL, *arguments[1:])

    monkeypatch.setattr(decoding, "decode", watched)

    async def main() -> None:
        requests = [made.classify(ClassifyRequest([large], 1)) for _ in range(6)]
        for results in await asyncio.gather(*requests):
            assert not isinstance(results[0], RequestError)

    asyncio.run(main())
    assert most == 2
