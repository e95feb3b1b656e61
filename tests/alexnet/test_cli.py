"""The `alexnet` command: its flags, its one-line complaints, and modules that do nothing when imported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import training
from alexnet.cli import main
from alexnet.paths import ROOT
from tests.conftest import WIDTH
from training.settings import Settings

MODULES = sorted(
    f"training.{path.stem}" for path in Path(training.__file__).parent.glob("*.py") if path.stem != "__init__"
)


def test_every_setting_is_a_flag_with_its_default_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["train", "--help"])
    assert caught.value.code == 0
    words = " ".join(capsys.readouterr().out.split())
    for name, field in Settings.model_fields.items():
        assert f"--{name.replace('_', '-')} " in words
        assert f"(default: {field.default or 'none'})" in words or field.default in (0, False)


def test_flags_reach_the_run_and_what_is_not_given_is_the_default(
    tmp_path: Path, data_root: Path, init_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    given = {
        "width": WIDTH,
        "epochs": 1,
        "batch_size": 100,
        "input_size": 63,
        "validation_images": 200,
        "seed": 7,
        "dropout": 0.25,
    }
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    place = ["--data", str(data_root), "--output", str(folder)]
    assert main(["train", *place, "--init", str(init_file), "--device", "cpu", *flags]) == 0
    expected = Settings(**given, init=init_file.name, device="cpu").model_dump(mode="json")
    assert json.loads((folder / "config.json").read_text())["settings"] == expected
    assert f"done: {folder}; next: alexnet export {folder}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--epochs", "0"], "--epochs is 0: it must be greater than or equal to 1"),
        (["--learning-rate", "-1"], "--learning-rate is -1.0: it must be greater than or equal to 0"),
        (["--learning-rate", "nan"], "--learning-rate is nan: it must be a finite number"),
        (["--device", "tpu"], "argument --device: invalid choice: 'tpu'"),
        (["--epochs", "many"], "argument --epochs: invalid int value: 'many'"),
        (["--no-such-flag"], "unrecognized arguments: --no-such-flag"),
        (["--init", "absent.safetensors"], "--init absent.safetensors: no such file"),
        (["--resume", "absent"], "absent/last.pt: no such file"),
        (["--resume", "run", "--batch-size", "8"], "--batch-size cannot change when a run is resumed"),
        (["--resume", "run", "--recipe", "improved"], "--recipe cannot change when a run is resumed"),
        (["--resume", "run", "--output", "other"], "--output cannot change when a run is resumed"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    tmp_path: Path,
    data_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code = _code(["train", "--data", str(data_root), *arguments])
    errors = capsys.readouterr().err
    assert code in (1, 2)
    assert errors.startswith("alexnet")
    assert complaint in errors
    assert errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["export", "absent"], "absent: no such file"),
        (["evaluate", "absent.onnx"], "absent.onnx: No such file or directory; make a model with `alexnet export RUN`"),
        (["evaluate", "text.onnx"], "text.onnx: not a whole ONNX file"),
        (["export", "text.onnx"], "text.onnx: not a whole checkpoint"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.onnx").write_text("no model")
    assert _code(arguments) in (1, 2)
    errors = capsys.readouterr().err
    assert complaint in errors
    assert errors.count("\n") == 1


@pytest.mark.usefixtures("offline")
def test_absent_data_without_network_is_one_line(
    tmp_path: Path, small_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(small_model), "--data", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err.startswith(f"alexnet: --data {tmp_path / 'none'}: no such folder; give one with")
    assert not (tmp_path / "none").exists()
    assert main(["evaluate", str(small_model), "--data", str(tmp_path / "none"), "--download"]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("alexnet: could not download https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz")
    assert errors.count("\n") == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_one_line(
    tmp_path: Path, data_root: Path, init_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.chmod(0o500)
    place = ["--data", str(data_root), "--output", str(tmp_path / "run"), "--init", str(init_file)]
    assert main(["train", *place, "--validation-images", "10"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_an_output_that_is_a_file_is_one_line(
    tmp_path: Path, data_root: Path, small_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("")
    assert main(["evaluate", str(small_model), "--data", str(data_root), "--output", str(tmp_path / "taken")]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"alexnet: {tmp_path / 'taken'}: File exists"


def test_a_run_goes_on_by_the_command(
    tmp_path: Path, data_root: Path, small_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    os.link(small_run / "last.pt", folder / "last.pt")
    assert main(["train", "--resume", str(folder), "--data", str(data_root), "--epochs", "3"]) == 0
    assert f"done: {folder}" in capsys.readouterr().out
    before, after = ((run / "metrics.csv").read_text().splitlines() for run in (small_run, folder))
    assert after[:3] == before
    assert after[3].startswith("3,")


def test_importing_a_module_does_nothing(tmp_path: Path) -> None:
    code = (
        "import importlib, logging, signal, sys, threading\n"
        "sys.argv[1:] = ['--help']\n"
        f"for name in {MODULES}: importlib.import_module(name)\n"
        "assert not logging.root.handlers, logging.root.handlers\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
    )
    result = _run("-c", code, cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_the_command_and_what_needs_no_torch_import_none() -> None:
    modules = "alexnet.cli, alexnet.datasets.cifar10, alexnet.doctor, alexnet.evaluation.evaluate"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert _run("-c", code).returncode == 0


def _code(arguments: list[str]) -> int | str | None:
    try:
        return main(arguments)
    except SystemExit as error:
        return error.code


def _run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
