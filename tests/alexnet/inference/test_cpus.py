"""Threads follow what the scheduler and the container's limit leave, not what the machine has."""

from pathlib import Path

import pytest

from alexnet.inference import cpus


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine of 64 CPUs whose control group's files are in the folder that comes back."""
    monkeypatch.setattr(cpus.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(cpus, "_CGROUP_V2", tmp_path / "cpu.max")
    monkeypatch.setattr(cpus, "_CGROUP_V1", tmp_path / "cpu")
    (tmp_path / "cpu").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("100000 100000", 1),
        ("50000 100000", 1),
        ("150000 100000", 2),
        ("800000 100000", 8),
        ("6400000 50000", 64),
        ("max 100000", 64),
        ("", 64),
        ("nonsense", 64),
    ],
)
def test_a_limit_of_the_second_version(machine: Path, limit: str, expected: int) -> None:
    (machine / "cpu.max").write_text(limit + "\n")
    assert cpus.usable_cpus() == expected


@pytest.mark.parametrize(("quota", "expected"), [("100000", 1), ("250000", 3), ("-1", 64), ("x", 64)])
def test_a_limit_of_the_first_version(machine: Path, quota: str, expected: int) -> None:
    (machine / "cpu" / "cpu.cfs_quota_us").write_text(quota + "\n")
    (machine / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert cpus.usable_cpus() == expected


def test_no_limit_leaves_what_the_scheduler_allows(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cpus.usable_cpus() == 64
    monkeypatch.setattr(cpus.os, "sched_getaffinity", lambda _: {3})
    assert cpus.usable_cpus() == 1


def test_a_system_without_affinity_counts_its_cpus(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cpus.os, "sched_getaffinity")
    monkeypatch.setattr(cpus.os, "cpu_count", lambda: None)
    assert cpus.usable_cpus() == 1


@pytest.mark.parametrize(
    ("usable", "workers", "gpu", "expected"),
    [
        (1, 0, False, (1, 1)),
        (2, 0, False, (1, 2)),
        (7, 0, False, (1, 7)),
        (8, 0, False, (2, 4)),
        (64, 0, False, (16, 4)),
        (64, 0, True, (1, 64)),
        (8, 1, False, (1, 8)),
        (8, 3, False, (3, 2)),
        (1, 4, False, (4, 1)),
    ],
)
def test_processes_and_threads_choose_themselves(
    usable: int, workers: int, gpu: bool, expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpus, "usable_cpus", lambda: usable)
    assert cpus.divide(workers, gpu) == expected


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("memory.max", "536870912", 536_870_912),
        ("memory.max", "max", 4_000_000_000),
        ("memory.max", "nonsense", 4_000_000_000),
        ("memory.limit_in_bytes", "268435456", 268_435_456),
        ("memory.limit_in_bytes", "9223372036854771712", 4_000_000_000),
    ],
)
def test_memory_is_that_of_the_control_group_or_half_of_the_machines(
    file: str, content: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpus.os, "sysconf", {"SC_PAGE_SIZE": 4_000, "SC_PHYS_PAGES": 2_000_000}.__getitem__)
    monkeypatch.setattr(cpus, "_MEMORY_FILES", (tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes"))
    (tmp_path / file).write_text(content + "\n")
    assert cpus.usable_memory() == expected
