"""Bounded work and bounded memory: never more requests than configured, never more bytes."""

from typing import Any

import pytest

from alexnet.errors import UserError
from alexnet.inference import cpus
from serving import limits
from serving.errors import RequestError
from serving.limits import AdmissionControl, MemoryBudget, memory_budget, worker_count
from serving.settings import Settings


def test_no_more_requests_are_admitted_than_there_are_places() -> None:
    admission = AdmissionControl(2)
    admission.enter()
    admission.check()
    admission.enter()
    for refusing in (admission.check, admission.enter):
        with pytest.raises(RequestError) as caught:
            refusing()
        assert caught.value.code == "overloaded"
    assert admission.pending == 2
    admission.leave()
    admission.enter()


@pytest.mark.parametrize(
    ("interval", "places", "seconds"), [(0.01, 64, 1), (0.5, 64, 16), (2.0, 10, 10), (60.0, 64, 60)]
)
def test_who_finds_no_place_is_told_when_half_of_the_work_will_be_done(
    interval: float, places: int, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(limits.time, "monotonic", lambda: now)
    admission = AdmissionControl(places)
    for _ in range(places):
        admission.enter()
    for _ in range(200):
        now += interval
        admission.leave()
        admission.enter()
    with pytest.raises(RequestError) as caught:
        admission.enter()
    assert caught.value.retry_seconds == seconds


def test_an_idle_time_does_not_count_as_a_slow_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(limits.time, "monotonic", lambda: now)
    admission = AdmissionControl(1)
    for _ in range(20):
        now += 3600
        admission.enter()
        now += 0.01
        admission.leave()
    admission.enter()
    with pytest.raises(RequestError) as caught:
        admission.enter()
    assert caught.value.retry_seconds == 1


# --- memory

MB = 1_000_000


def test_no_more_bytes_of_bodies_are_held_than_configured_whatever_the_number_of_uploads() -> None:
    memory = MemoryBudget(100 * MB, 10_000)
    with memory.hold() as add, memory.hold() as add_other:
        add(6_000)
        add_other(4_000)
        for adding in (add, add_other):
            with pytest.raises(RequestError) as caught:
                adding(1)
            assert caught.value.code == "overloaded"
        assert memory.held == 10_000
    assert memory.held == 0


def test_large_bodies_leave_room_for_small_ones() -> None:
    memory = MemoryBudget(100 * MB, 8 * MB)
    with memory.hold() as add_large, memory.hold() as add_other, memory.hold() as add_small:
        add_large(4 * MB)
        add_other(3 * MB)
        for adding in (add_large, add_other):
            with pytest.raises(RequestError, match="Too many uploads"):
                adding(1)
        add_small(50_000)
        assert memory.held == 7 * MB + 50_000


def test_a_large_body_alone_may_fill_all_of_the_room() -> None:
    memory = MemoryBudget(100 * MB, 8 * MB)
    with memory.hold() as add:
        add(4 * MB)
        add(4 * MB)
        assert memory.held == 8 * MB


def test_images_are_decoded_together_only_while_the_budget_lasts() -> None:
    memory = MemoryBudget(110 * MB, 10 * MB)
    assert memory.acquire(60 * MB)
    assert not memory.acquire(41 * MB)
    assert memory.acquire(40 * MB)
    assert memory.decoding == 100 * MB
    memory.release(60 * MB)
    assert memory.acquire(60 * MB)


def test_an_image_that_can_never_be_decoded_is_refused() -> None:
    memory = MemoryBudget(100 * MB, 40 * MB)
    memory.check(60 * MB)
    with pytest.raises(RequestError, match="ALEXNET_DECODE_MEMORY_LIMIT") as caught:
        memory.check(61 * MB)
    assert caught.value.code == "too_many_pixels"


@pytest.mark.parametrize(
    ("usable", "workers", "decode", "held"),
    [
        (512 * 1024**2, 1, 245 * MB, 81 * MB),
        (512 * 1024**2, 2, 73 * MB, 24 * MB),
        (16_000 * MB, 2, 384 * MB, 128 * MB),
    ],
)
def test_the_budget_follows_from_the_memory_of_the_container(
    usable: int, workers: int, decode: int, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpus, "usable_memory", lambda: usable)
    memory = memory_budget(Settings(workers=workers))
    assert memory.decode_limit == pytest.approx(decode, abs=MB)
    assert memory.max_held == pytest.approx(held, abs=MB)


def test_settings_come_before_the_memory_of_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "usable_memory", lambda: 64 * MB)
    memory = memory_budget(Settings(decode_memory_limit=200 * MB, max_held_bytes=20 * MB))
    assert (memory.decode_limit, memory.max_held) == (180 * MB, 20 * MB)
    with pytest.raises(UserError, match="ALEXNET_DECODE_MEMORY_LIMIT"):
        memory_budget(Settings())


@pytest.mark.parametrize(
    ("usable", "options", "expected"),
    [
        (16_000 * MB, {}, 4),
        (2_100 * MB, {}, 3),
        (512 * MB, {}, 1),
        (64 * MB, {}, 1),
        (512 * MB, {"workers": 2}, 2),
        (16_000 * MB, {"gpu": "prefer"}, 1),
        (16_000 * MB, {"gpu": "prefer", "workers": 3}, 3),
    ],
)
def test_there_are_as_many_workers_as_cpus_and_memory_allow(
    usable: int, options: dict[str, Any], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpus, "usable_memory", lambda: usable)
    monkeypatch.setattr(cpus, "usable_cpus", lambda: 8)
    assert worker_count(Settings(**options)) == expected
