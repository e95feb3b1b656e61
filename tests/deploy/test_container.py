"""What `make container` packs, up to the step that needs docker or podman (tests/container/ does that one)."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from alexnet import files
from deploy import container, sbom


def test_the_bento_holds_its_sbom_and_the_checkout_keeps_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really_run = subprocess.run
    asked: list[Sequence[str]] = []

    def run(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        if "containerize" not in command:
            return really_run(command, **options)
        asked.append(command)
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    monkeypatch.setattr(container.subprocess, "run", run)
    assert container.build("cpu", "podman", ["--opt", "no-cache"]) == 3
    (packed,) = tmp_path.glob(f"bentos/{container.NAME}/*/src/{sbom.FILE}")
    components = {item["name"]: item for item in json.loads(packed.read_text())["components"]}
    assert components[sbom.MODEL]["hashes"][0]["content"] == files.sha256(packed.parent / sbom.MODEL)
    assert {"bentoml", "onnxruntime"} <= components.keys()
    assert "onnxruntime-gpu" not in components
    assert (packed.parent / "requirements/gpu.txt").exists()  # the same Bento makes both images
    asked_for = (packed.parents[1] / "env/python/requirements.txt").read_text()
    assert "\nbentoml==" in asked_for
    assert "\nonnxruntime==" in asked_for
    assert not (container.ROOT / sbom.FILE).exists()
    ((*_, option, value),) = asked
    assert (option, value) == ("--opt", "no-cache")


def test_without_its_tool_nothing_is_packed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sbom, "describe", lambda kind, sources: __import__("cyclonedx_that_is_missing"))
    monkeypatch.setattr(container.subprocess, "run", lambda *arguments, **options: pytest.fail("BentoML was started"))
    assert container.build("cpu", "podman", []) == 1
    assert "pip install -r requirements/sbom.txt" in capsys.readouterr().err
