"""What `alexnet doctor` finds about a machine, on machines that are not there."""

import importlib.util
import os
import socket
import sys
from pathlib import Path

import pytest

from alexnet import machine
from alexnet.inference import session
from alexnet.machine import Finding


def test_a_machine_that_has_all_is_fine() -> None:
    problems = [finding for finding in machine.look() if finding.status == "problem"]
    assert problems == []


def test_every_finding_but_a_good_one_has_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "usable_cpus", lambda: 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(machine, "_POD_BYTES", 2**70)
    for finding in [*machine.look(), machine.scratch(), machine.disk(tmp_path)]:
        assert bool(finding.remedy) == (finding.status != "ok"), finding


def test_fewer_cpus_than_the_machine_has_are_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_cpus", lambda: 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    finding = machine.cpus()
    assert finding.status == "note"
    assert finding.found.startswith("1 of 64 usable")


@pytest.mark.parametrize(
    ("limit", "status", "found"),
    [(None, "ok", "no limit"), (2**31, "ok", "limited to 2,048 MiB"), (2**28, "note", "limited to 256 MiB")],
)
def test_memory(monkeypatch: pytest.MonkeyPatch, limit: int | None, status: str, found: str) -> None:
    monkeypatch.setattr(machine, "memory_limit", lambda: limit)
    assert (machine.memory().status, machine.memory().found) == (status, found)


def test_both_packages_of_onnx_runtime_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "installed_runtimes", lambda: ["onnxruntime", "onnxruntime-gpu"])
    (finding,) = machine.runtime()
    assert finding.status == "problem"
    assert finding.found.endswith("by onnxruntime and onnxruntime-gpu")
    assert "pip uninstall onnxruntime onnxruntime-gpu" in finding.remedy


def test_no_onnx_runtime_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (finding,) = machine.runtime()
    assert finding.status == "problem"


def test_no_torch_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert machine.torch().status == "note"
    assert machine.torch().found == "not installed"


def test_a_torch_that_does_not_load_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "torch", None)
    assert machine.torch().status == "problem"


def test_a_port_in_use_is_a_note() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        assert machine.port(number).status == "note"
    assert machine.port(number) == Finding(f"port {number}", "ok", "free")


def test_a_folder_for_temporary_files_that_is_not_there_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    finding = machine.scratch()
    assert (finding.subject, finding.status) == (str(tmp_path / "none"), "problem")
    assert f"--tmpfs {tmp_path / 'none'}" in finding.remedy
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert machine.scratch().status == "ok"
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_note(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert machine.disk(tmp_path / "not" / "yet").status == "ok"
    monkeypatch.setattr(machine, "_RUN_BYTES", 10**18)
    assert machine.disk(tmp_path / "not" / "yet").status == "note"
    assert list(tmp_path.iterdir()) == []
