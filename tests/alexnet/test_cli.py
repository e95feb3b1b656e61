"""The `alexnet` command: its flags, its one-line complaints, and modules that do nothing when imported."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import alexnet
import training
from alexnet import cli
from alexnet.cli import main
from alexnet.paths import ROOT
from tests.conftest import FIXTURE, WIDTH
from tests.models import write_model
from training.settings import Settings

MODULES = sorted(
    f"training.{path.stem}" for path in Path(training.__file__).parent.glob("*.py") if path.stem != "__init__"
)


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    """As it was, after `serve` has told its workers what to serve."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_every_setting_is_a_flag_with_its_default_in_the_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["train", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, field in Settings.model_fields.items():
        (line,) = (line for line in lines if line.startswith(f"│ --{name.replace('_', '-')} "))
        assert str(field.description)[:40] in line
        assert field.default is None or f"[default: {field.default}]" in line


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
        (["--epochs", "0"], "alexnet train: --epochs is 0: it must be greater than or equal to 1"),
        (["--learning-rate", "-1"], "--learning-rate is -1: it must be greater than or equal to 0"),
        (["--learning-rate", "nan"], "--learning-rate is nan: it must be a finite number"),
        (["--device", "tpu"], "--device is tpu: it must be 'auto', 'cpu' or 'cuda'"),
        (["--epochs", "many"], "--epochs is many: it must be a valid integer"),
        (["--no-such-flag"], "Unknown option: --no-such-flag"),
        (["--learning-rat", "1"], "Unknown option: --learning-rat. Did you mean --learning-rate?; see alexnet train -"),
        (["--stem-kernel", "5"], "--stem-kernel is 5"),
        (["--epochs"], "--epochs requires an argument"),
        (["extra"], "unexpected extra"),
        (["--input-size", "32"], "--input-size is 32: AlexNet needs 63 or more"),
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
    code = main(["train", "--data", str(data_root), *arguments])
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
        (["export", "text.onnx"], "text.onnx: damaged"),
        (["trian"], 'Unknown command "trian". Did you mean "train"?'),
        (["evaluate", "--pedictions"], "Unknown option: --pedictions. Did you mean --predictions?"),
        (["predict"], "INPUTS requires an argument"),
        (["compare", "text.onnx"], "SECOND requires an argument"),
        (["compress", "text.onnx", "--rank", "low"], 'Invalid value for --rank: unable to convert "low"'),
        (["serve", "--port", "0"], 'Invalid value "0" for --port'),
        (["serve", "--model", "absent.onnx"], "absent.onnx: No such file or directory; make a model"),
        (["--print-completion", "cmd"], 'Choose from: "bash", "zsh", "fish"'),
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
    assert main(arguments) in (1, 2)
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


def test_what_needs_no_torch_imports_none() -> None:
    modules = (
        "alexnet.cli, alexnet.datasets, alexnet.commands.train, alexnet.commands.export, alexnet.commands.evaluate"
    )
    code = f"import sys, {modules}, alexnet.evaluation.evaluate, alexnet.commands.predict, alexnet.commands.doctor; "
    code += (
        "from alexnet.cli import main; main(['--help']); sys.exit('torch' in sys.modules or 'bentoml' in sys.modules)"
    )
    assert _run("-c", code).returncode == 0


def test_the_help_of_all_commands_imports_nothing_of_theirs() -> None:
    code = "import sys; from alexnet.cli import main; main([]); sys.exit('numpy' in sys.modules)"
    assert _run("-c", code).returncode == 0


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{alexnet.__version__}\n"


def test_of_a_flag_that_is_given_twice_the_last_one_counts() -> None:
    given = cli.check(["train", "--epochs", "20", "--output", "a", "--epochs", "2", "--output", "b"])
    assert (given["settings"].epochs, given["output"]) == (2, Path("b"))
    assert cli.check(["evaluate", "--ood", "a", "--ood", "b"])["ood"] == (Path("a"), Path("b"))


def test_a_recipe_and_a_flag_are_checked_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "--recipe", "teacher", "--input-size", "32", "--data", str(tmp_path / "absent")]
    assert main(command) == 1
    assert "absent: no such folder" in capsys.readouterr().err  # the size is right for a teacher


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["train"], 1, "this needs training: pip install 'alexnet-cifar10[train]'"),
        (["export", "run"], 1, "this needs training: pip install 'alexnet-cifar10[train]'"),
        (["compress", "run"], 1, "this needs training: pip install 'alexnet-cifar10[train]'"),
        (["report"], 1, "this needs training: pip install 'alexnet-cifar10[train]'"),
        (["serve"], 1, "this needs serving: pip install 'alexnet-cifar10[serve]'"),
        (["fit", "photos"], 1, "this needs onnx: pip install alexnet-cifar10"),
        (["--help"], 0, ""),
        (["predict", "--help"], 0, ""),
        (["evaluate", "--help"], 0, ""),
        (["predict", "{cat}"], 0, ""),
        (["doctor", "--json"], 0, ""),
        (["evaluate", "--data", "absent"], 1, "--data absent: no such folder"),
    ],
)
def test_without_training_serving_and_onnx_the_others_answer(
    tmp_path: Path, arguments: list[str], code: int, complaint: str
) -> None:
    cat = FIXTURE / "cat" / "00000.png"
    given = [item.format(cat=cat) for item in arguments]
    absent = ("training", "serving", "torch", "bentoml", "onnx")
    script = f"import sys; sys.modules |= dict.fromkeys({absent}); sys.path.insert(0, {str(ROOT)!r}); "
    done = _run("-c", f"{script}from alexnet.cli import main; sys.exit(main(sys.argv[1:]))", *given, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert complaint in done.stderr
    assert done.stderr.count("\n") == (1 if complaint else 0)


def test_a_missing_package_is_in_the_extra_that_is_named() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    other_names = {"circus": "kantoku", "mlflow": "mlflow-skinny", "prometheus_client": "prometheus-client"}
    for module, extra in cli._EXTRAS.items():
        names = [re.split(r"[\[<>=;]", line)[0] for line in project["optional-dependencies"][extra]]
        assert module in ("training", "serving") or other_names.get(module, module) in names


@pytest.mark.parametrize(("encoding", "name"), [("ascii", "caf\u00e9"), ("latin-1", "\u732b"), ("ascii", "\U0001f431")])
def test_a_stream_of_another_encoding_takes_every_name(tmp_path: Path, encoding: str, name: str) -> None:
    cat = tmp_path / f"{name}.png"
    shutil.copy(FIXTURE / "cat" / "00000.png", cat)
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    for flags in ([], ["--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "alexnet", "predict", str(cat), *flags],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout.decode(encoding))["path"] == str(cat)
    absent = subprocess.run(
        [sys.executable, "-m", "alexnet", "evaluate", f"{name}.onnx"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        check=False,
    )
    assert absent.returncode == 1
    assert absent.stderr.count(b"\n") == 1


@pytest.mark.parametrize("name", ["a\rb", "a\nb", "a\x1b[31mb", "a\udce9b"])
def test_a_message_is_one_line_whatever_the_name(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["evaluate", f"{name}.onnx"], ["predict", name], ["doctor", "--data", name]):
        main(command)
        captured = capsys.readouterr()
        assert "\r" not in captured.err
        assert "\x1b" not in captured.err + captured.out
        if command[0] != "doctor":
            assert captured.err.count("\n") == 1
            assert captured.err.startswith("alexnet: a")


def test_a_zip_or_a_checkpoint_in_the_place_of_data_or_model_is_one_line(
    tmp_path: Path, small_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("train/cat/1.txt", "x")
    for command in (["evaluate"], ["train"], ["evaluate", "--download"], ["card"]):
        assert main([*command, "--data", str(archive)]) == 1
        errors = capsys.readouterr().err
        assert f"--data {archive} is a file; unpack it" in errors
        assert errors.count("\n") == 1
    for command in (["predict", str(archive), "--model", str(small_run / "best.pt")], ["evaluate", str(archive)]):
        assert main(command) == 1
        errors = capsys.readouterr().err
        assert "not a whole ONNX file" in errors
        assert errors.count("\n") == 1


def test_folders_nested_deeply_are_walked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "train" / "cat" / Path(*["d"] * 1200)
    subprocess.run(["mkdir", "-p", folder], check=True)  # os.makedirs calls itself for each level
    shutil.copy(FIXTURE / "cat" / "00000.png", folder / "deep.png")
    assert main(["predict", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == str(folder / "deep.png")
    assert main(["predict", f"{tmp_path}/**", "--json"]) == 1
    assert "nested too deeply for a pattern; give the folder" in capsys.readouterr().err
    assert main(["evaluate", "--data", str(tmp_path)]) == 1
    errors = capsys.readouterr().err
    assert "test: no such folder; put the images of each class into" in errors
    assert errors.count("\n") == 1
    subprocess.run(["rm", "-r", str(tmp_path / "train")], check=True)  # shutil calls itself for each level


def test_pillow_does_not_warn_without_a_name(tmp_path: Path) -> None:
    corrupt_exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\xff\xff\xff\x7f\0\0\0\0"
    Image.new("RGB", (40, 40)).save(tmp_path / "exif.jpg", exif=corrupt_exif)
    done = _run("-m", "alexnet", "predict", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_pipe_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    for given in (str(tmp_path / "pipe"), "/dev/null"):
        assert main(["predict", given]) == 1
        errors = capsys.readouterr().err
        assert f"{given} is a pipe or a device, which can be read only once; save it to a file first" in errors
        assert errors.count("\n") == 1
    assert main(["predict", "-"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_serve_starts_the_service_with_what_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from serving.server import supervisor

    started = []
    monkeypatch.setattr(supervisor, "serve", lambda *given: started.append(given))
    model = write_model(tmp_path / "model.onnx")
    for given in (model, tmp_path):
        assert main(["serve", "--model", str(given), "--host", "::1", "--port", "3456", "--workers", "2"]) == 0
        ((host, port, settings),) = started
        assert (host, port, settings.model, settings.workers) == ("::1", 3456, model, 2)
        started.clear()


def _run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
