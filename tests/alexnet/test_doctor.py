"""`alexnet doctor`: what it says about settings, data and models, its exit code, and that it needs no torch."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet import doctor, files, machine
from alexnet.cli import main
from alexnet.datasets import cifar10
from alexnet.machine import Finding
from alexnet.paths import ROOT
from tests.alexnet.datasets.test_image_folder import put

MODEL = ROOT / "models" / "alexnet" / "model.onnx"
RECORD = 3073


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the committed model with its metrics."""
    for name in ("model.onnx", "metrics.json"):
        shutil.copy(MODEL.with_name(name), tmp_path)
    return tmp_path / "model.onnx"


def write_data(root: Path, size: int) -> Path:
    folder = root / cifar10.FOLDER
    folder.mkdir()
    for name in (*cifar10.TRAIN_FILES, *cifar10.TEST_FILES):
        with (folder / name).open("wb") as file:
            file.truncate(size)
    return folder


def test_a_model_with_its_measurement() -> None:
    found, measured = doctor.model_file(MODEL)
    assert (found.status, measured.status) == ("ok", "ok")
    assert files.sha256(MODEL) in found.found
    assert "alexnet-cifar10, 10 classes (airplane" in found.found
    assert f"{json.loads(MODEL.with_name('metrics.json').read_text())['accuracy']:.4f} on" in measured.found


def test_a_measurement_of_another_model_is_a_problem(model: Path) -> None:
    path = model.with_name("metrics.json")
    path.write_text(path.read_text().replace(files.sha256(model), "0" * 64))
    measured = doctor.model_file(model)[1]
    assert (measured.subject, measured.status) == ("accuracy", "problem")
    assert measured.remedy == f"measure it: alexnet evaluate {model}"


@pytest.mark.parametrize(
    ("content", "status"), [(None, "note"), ("{", "problem"), ("{}", "problem"), ("[]", "problem")]
)
def test_a_measurement_that_cannot_be_read(model: Path, content: str | None, status: str) -> None:
    path = model.with_name("metrics.json")
    path.unlink()
    if content:
        path.write_text(content)
    measured = doctor.model_file(model)[1]
    assert measured.status == status
    assert "alexnet evaluate" in measured.remedy


@pytest.mark.parametrize("content", [None, b"no model"])
def test_a_model_that_cannot_be_served_is_a_problem_with_its_remedy(tmp_path: Path, content: bytes | None) -> None:
    if content:
        (tmp_path / "model.onnx").write_bytes(content)
    (finding,) = doctor.model_file(tmp_path / "model.onnx")
    assert finding.status == "problem"
    assert "export" in finding.remedy
    assert "export" not in finding.found


def test_a_gpu_that_onnx_runtime_cannot_use_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if any(machine.NVIDIA.glob("*")):
        pytest.skip("there is a GPU")
    monkeypatch.setattr(machine, "NVIDIA", tmp_path)  # as if the driver showed one
    finding = doctor.model_file(MODEL)[-1]
    assert (finding.subject, finding.status) == ("GPU", "problem")
    assert "cannot be used" in finding.found


def test_whole_data(tmp_path: Path) -> None:
    write_data(tmp_path, 10_000 * RECORD)
    assert doctor.data_set(tmp_path) == Finding(f"{tmp_path}/", "ok", "complete: 60,000 images")


def test_no_data_is_a_note_and_a_part_too(tmp_path: Path, data_root: Path) -> None:
    assert doctor.data_set(tmp_path).status == "note"
    assert doctor.data_set(data_root).status == "note"
    assert doctor.data_set(data_root).found == "500 images"


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    folder = write_data(tmp_path, 10_000 * RECORD)
    (folder / "data_batch_3.bin").unlink()
    (folder / "test_batch.bin").write_bytes(b"x" * 100)
    finding = doctor.data_set(tmp_path)
    assert finding.status == "problem"
    assert finding.found == "data_batch_3.bin is missing; test_batch.bin has 100 bytes"
    assert "30,730,000 bytes" in finding.remedy


def test_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALEXNET_WORKERS", "2")
    assert doctor.environment_variables() == Finding("settings", "ok", "ALEXNET_WORKERS")
    monkeypatch.setenv("ALEXNET_WORKERS", "-2")
    assert doctor.environment_variables().status == "problem"


def test_a_problem_is_exit_code_1_and_a_note_is_not(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", str(model), "--data", str(tmp_path / "none")]) == 0
    assert "no problems" in capsys.readouterr().out
    model.write_bytes(b"no model")
    assert main(["doctor", str(model), "--data", str(tmp_path / "none")]) == 1
    out = capsys.readouterr().out
    assert "1 problem" in out
    assert "what to do" in out


def test_json_for_programs(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model.write_bytes(b"[red]no model")
    assert main(["doctor", str(model), "--data", str(tmp_path), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["healthy"] is False
    assert {"subject", "status", "found", "remedy"} == found["findings"][0].keys()
    assert [item["subject"] for item in found["findings"] if item["status"] == "problem"] == ["model"]


def test_brackets_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    doctor.show([Finding("x", "problem", "[bold] and [/none]", "[red]")])
    out = capsys.readouterr().out
    assert "[bold] and [/none]" in out
    assert "[red]" in out


def test_it_works_where_torch_is_not_installed(tmp_path: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; import importlib.util as u; old = u.find_spec\n"
    code += "u.find_spec = lambda name, *more: None if name == 'torch' else old(name, *more)\n"
    code += f"from alexnet.cli import main; sys.exit(main(['doctor', '--json', '--data', {str(tmp_path)!r}]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (torch,) = (item for item in json.loads(done.stdout)["findings"] if item["subject"] == "torch")
    assert torch["status"] == "note"


def test_an_image_folder_is_counted_by_their_folders(tmp_path: Path) -> None:
    put(tmp_path / "train", "cat", 0, 3)
    put(tmp_path / "train", "dog", 0, 2)
    put(tmp_path / "test", "dog", 2, 1)
    found = "images of 2 classes (cat, dog): 5 in train/, 1 in test/"
    assert doctor.data_set(tmp_path) == Finding(f"{tmp_path}/", "ok", found)
    shutil.rmtree(tmp_path / "train" / "cat")
    finding = doctor.data_set(tmp_path)
    assert (finding.status, finding.found) == ("problem", f"{tmp_path / 'train'} has one class, dog")
    assert finding.remedy.startswith("two are needed at least")
    shutil.rmtree(tmp_path / "train")
    assert doctor.data_set(tmp_path).status == "note"
