"""The wheel: all modules, the model and the licences are in it, and it predicts from any folder."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from alexnet import __version__, files
from alexnet.paths import MODEL, ROOT

PACKAGES = ("alexnet", "serving", "training")
# What `pip install alexnet-cifar10` without extras does not bring.
EXTRAS = ("bentoml", "starlette", "uvicorn", "httptools", "uvloop", "httpx", "multipart", "prometheus_client")
EXTRAS += (
    "pydantic_settings",
    "pythonjsonlogger",
    "torch",
    "torchvision",
    "onnx",
    "matplotlib",
    "safetensors",
    "scipy",
)
EXTRAS += ("pyarrow", "pandas", "psutil", "yaml", "aiohttp", "jinja2")
CAT = ROOT / "tests" / "data" / "cifar10" / "cat" / "00000.png"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the setuptools of this environment, from a copy, so that nothing is fetched and no build/ is left."""
    pytest.importorskip("setuptools", minversion="77")
    return build(tmp_path_factory.mktemp("wheel"), "wheel")


def build(folder: Path, kind: str) -> Path:
    """The path of the `wheel` or `sdist` of the tracked tree."""
    source = folder / "source"
    source.mkdir()
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.split("\0"):
        if name and name.split("/")[0] not in ("docs", "tests", "benchmarks") and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    code = f"import setuptools.build_meta as backend; print(backend.build_{kind}({str(folder)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.splitlines()[-1]


def modules() -> set[str]:
    """Every module of the packages, as it lies in the tree."""
    return {str(path.relative_to(ROOT)) for name in PACKAGES for path in (ROOT / name).rglob("*.py")}


def test_every_module_and_the_model_are_in_it(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in names if name.endswith(".py")} == modules()
    assert {f"{name}/py.typed" for name in PACKAGES} <= names
    assert {"alexnet/models/alexnet/model.onnx", "alexnet/models/alexnet/metrics.json"} <= names
    assert {"alexnet/models/features/model.onnx", "alexnet/models/features/README.md"} <= names
    assert {name for name in names if "/page/" in name} == {
        str(path.relative_to(ROOT)) for path in (ROOT / "serving" / "page").rglob("*") if path.is_file()
    }
    assert wheel.stat().st_size < 6e6


def test_its_metadata_name_the_version_and_the_licence(wheel: Path) -> None:
    archive, folder = zipfile.ZipFile(wheel), f"alexnet_cifar10-{__version__}.dist-info"
    metadata = archive.read(f"{folder}/METADATA").decode()
    assert f"\nVersion: {__version__}\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert {f"{folder}/licenses/LICENSE", f"{folder}/licenses/NOTICE"} <= set(archive.namelist())


def test_it_predicts_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    (tmp_path / "cat.png").write_bytes(CAT.read_bytes())
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    asked = "from alexnet import paths; print(paths.MODEL)"
    found = subprocess.run(
        [sys.executable, "-c", asked], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    model = Path(found.stdout.strip())
    assert model.is_relative_to(installed)
    assert files.sha256(model) == files.sha256(MODEL)
    code = f"import sys; sys.modules.update(dict.fromkeys({EXTRAS!r})); from alexnet.cli import main; sys.exit(main())"
    for command, shown in ((["predict", "cat.png"], "cat"), (["doctor", "--json"], files.sha256(MODEL))):
        started = [sys.executable, "-c", code, *command]
        done = subprocess.run(started, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or command[0] == "doctor", done.stderr  # what doctor finds here is not asked
        assert shown in done.stdout
        assert done.stderr == ""


def test_the_sdist_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(build(tmp_path, "sdist")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    expected = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name.replace("alexnet/models/", "models/") for name in expected} <= names
