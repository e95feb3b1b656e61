"""What ships is pinned, by hash, and is what pyproject.toml asks for."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from alexnet.paths import ROOT

FOLDER = ROOT / "requirements"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
(ONNX,) = (
    need for need in PROJECT["dependencies"] if need.startswith("onnx>")
)  # `fit` writes files; a server does not


def pins(name: str) -> dict[str, str]:
    """The versions of a file by canonical name."""
    found = re.findall(r"^([\w.-]+)==([^\s;\\]+)", (FOLDER / name).read_text(), re.MULTILINE)
    return {canonicalize_name(package): version for package, version in found}


@pytest.mark.parametrize("name", ["serving.txt", "cpu.txt", "gpu.txt", "sbom.txt"])
def test_what_ships_has_a_hash(name: str) -> None:
    entries = re.split(r"\n(?=\w)", re.sub(r"^#.*\n", "", (FOLDER / name).read_text(), flags=re.MULTILINE))
    assert [entry for entry in entries if not re.search(r"\n    --hash=sha256:[0-9a-f]{64}", entry)] == [], "make lock"
    assert "://" not in (FOLDER / name).read_text()


@pytest.mark.parametrize(
    ("asked", "files"),
    [
        ([need for need in PROJECT["dependencies"] if need != ONNX] + EXTRAS["serve"], ["serving.txt", "cpu.txt"]),
        ([ONNX], ["train.txt"]),
        (EXTRAS["train"] + EXTRAS["evaluate"] + EXTRAS["dev"], ["serving.txt", "train.txt", "sbom.txt", "dev.txt"]),
        (EXTRAS["ray"] + EXTRAS["parquet"], ["dev.txt", "ray.txt"]),
    ],
    ids=["serve", "fit", "dev", "ray"],
)
def test_the_pins_are_what_is_asked_for(asked: list[str], files: list[str]) -> None:
    found = {package: version for name in files for package, version in pins(name).items()}
    for need in map(Requirement, asked):
        assert canonicalize_name(need.name) in found, f"{need} is in none of {', '.join(files)}"
        assert need.specifier.contains(found[canonicalize_name(need.name)]), need


def test_no_package_is_pinned_to_two_versions() -> None:
    seen: dict[str, str] = {}
    for name in ("serving.txt", "cpu.txt", "sbom.txt", "train.txt", "dev.txt", "ray.txt"):
        for package, version in pins(name).items():
            assert seen.setdefault(package, version) == version, f"{package} in {name}"
