"""Threads follow what the scheduler and the container's limit leave, not what the machine has."""

from pathlib import Path

import pytest

from alexnet.inference import cpus


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine of 64 CPUs and 8 GB; the files of its control groups are in the folder that comes back."""
    monkeypatch.setattr(cpus.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(cpus.os, "sysconf", {"SC_PAGE_SIZE": 4_000, "SC_PHYS_PAGES": 2_000_000}.__getitem__)
    monkeypatch.setattr(cpus, "_GROUPS", tmp_path)
    monkeypatch.setattr(cpus, "_OWN_GROUPS", tmp_path / "own")
    return tmp_path


def write(file: Path, text: str) -> None:
    """Write a file of a control group."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text + "\n")


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
    write(machine / "cpu.max", limit)
    assert cpus.usable_cpus() == expected


@pytest.mark.parametrize(("quota", "expected"), [("100000", 1), ("250000", 3), ("-1", 64), ("x", 64)])
def test_a_limit_of_the_first_version(machine: Path, quota: str, expected: int) -> None:
    write(machine / "cpu" / "cpu.cfs_quota_us", quota)
    write(machine / "cpu" / "cpu.cfs_period_us", "100000")
    assert cpus.usable_cpus() == expected


def test_no_limit_leaves_what_the_scheduler_allows(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cpus.usable_cpus() == 64
    monkeypatch.setattr(cpus.os, "sched_getaffinity", lambda _: {3})
    assert cpus.usable_cpus() == 1


def test_a_system_without_affinity_counts_its_cpus(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cpus.os, "sched_getaffinity")
    monkeypatch.setattr(cpus.os, "cpu_count", lambda: None)
    assert cpus.usable_cpus() == 1


@pytest.mark.parametrize(("usable", "expected"), [(1, 1), (2, 2), (3, 2), (4, 2), (7, 3), (8, 4), (64, 32)])
def test_there_is_a_process_for_every_two_cpus_and_two_on_two(
    usable: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpus, "usable_cpus", lambda: usable)
    assert cpus.processes() == expected


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("memory.max", "536870912", 536_870_912),
        ("memory.max", "max", 4_000_000_000),
        ("memory.max", "nonsense", 4_000_000_000),
        ("memory/memory.limit_in_bytes", "268435456", 268_435_456),
        ("memory/memory.limit_in_bytes", "9223372036854771712", 4_000_000_000),
    ],
)
def test_memory_is_that_of_the_control_group_or_half_of_the_machines(
    file: str, content: str, expected: int, machine: Path
) -> None:
    write(machine / file, content)
    assert cpus.usable_memory() == expected


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/system.slice/alexnet.service", {"system.slice/alexnet.service/memory.max": "300"}, 300),
        ("0::/system.slice/alexnet.service", {"system.slice/memory.max": "200", "memory.max": "400"}, 200),
        ("0::/gone/on/the/host", {"memory.max": "100"}, 100),
        ("4:memory:/docker/1f", {"memory/docker/1f/memory.limit_in_bytes": "500"}, 500),
        (
            "5:cpu:/a\n4:memory:/b\n0::/",
            {"memory/a/memory.limit_in_bytes": "1", "memory/b/memory.limit_in_bytes": "2"},
            2,
        ),
        ("0::/a", {"b/memory.max": "300"}, 4_000_000_000),
    ],
)
def test_the_limit_of_each_group_that_the_process_is_in_counts(
    own: str, files: dict[str, str], expected: int, machine: Path
) -> None:
    write(machine / "own", own)
    for name, text in files.items():
        write(machine / name, text)
    assert cpus.usable_memory() == expected


def test_the_least_quota_of_all_groups_counts(machine: Path) -> None:
    write(machine / "own", "3:cpu,cpuacct:/b\n0::/system.slice/alexnet.service")
    write(machine / "system.slice" / "alexnet.service" / "cpu.max", "400000 100000")
    write(machine / "system.slice" / "cpu.max", "max 100000")
    assert cpus.usable_cpus() == 4
    write(machine / "cpu" / "b" / "cpu.cfs_quota_us", "250000")
    write(machine / "cpu" / "b" / "cpu.cfs_period_us", "100000")
    assert cpus.usable_cpus() == 3
