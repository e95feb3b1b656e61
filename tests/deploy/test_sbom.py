"""The SBOM names the packages that were asked for or are there, and the model."""

import importlib.metadata
import json
import shutil
import venv
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from alexnet import files
from deploy import sbom

PINS = [sbom.ROOT / "requirements" / name for name in ("serving.txt", "cpu.txt")]


def read(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    output = tmp_path / sbom.FILE
    assert sbom.main([*arguments, str(output)]) == 0
    found: dict[str, Any] = json.loads(output.read_text())
    return found


def test_that_of_requirements_has_every_pin_and_the_model(tmp_path: Path) -> None:
    found = read(tmp_path, "requirements", *map(str, PINS))
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    assert found["metadata"]["component"]["name"] == "alexnet-cifar10"
    pins = {line.split()[0].rstrip(";") for path in PINS for line in path.read_text().splitlines() if "==" in line}
    libraries = [item for item in found["components"] if item["type"] == "library"]
    assert {f"{item['name']}=={item['version']}" for item in libraries} == pins
    (model,) = (item for item in found["components"] if item["type"] == "machine-learning-model")
    assert model["name"] == "models/alexnet/model.onnx"
    assert model["hashes"] == [{"alg": "SHA-256", "content": files.sha256(sbom.ROOT / model["name"])}]


def test_that_of_an_environment_has_licences_and_dependencies(tmp_path: Path) -> None:
    venv.create(tmp_path / "app")
    (packages,) = (tmp_path / "app").glob("lib/*/site-packages")
    for name in ("uvicorn", "h11"):
        folder = Path(str(importlib.metadata.distribution(name).locate_file(f"{name}-{version(name)}.dist-info")))
        shutil.copytree(folder, packages / folder.name)
    found = read(tmp_path, "environment", str(tmp_path / "app/bin/python"))
    components = {item["name"]: item for item in found["components"]}
    assert components.keys() == {"uvicorn", "h11", sbom.MODEL}
    assert components["uvicorn"]["licenses"][0]["license"]["id"] == "BSD-3-Clause"
    (needs,) = (i["dependsOn"] for i in found["dependencies"] if i["ref"] == components["uvicorn"]["bom-ref"])
    assert needs == [components["h11"]["bom-ref"]]


@pytest.mark.parametrize("arguments", [["environment", "/none"], ["requirements", "/none"]])
def test_what_cannot_be_read_is_one_line_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert sbom.main([*arguments, str(tmp_path / sbom.FILE)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_call_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert sbom.main(["image"]) == 2
    assert capsys.readouterr().err.startswith("sbom.py: give requirements FILE... OUTPUT")
