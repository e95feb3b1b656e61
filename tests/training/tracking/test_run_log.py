"""Tracking: what TensorBoard and MLflow are told is what metrics.csv says, and no failure of theirs ends a training."""

import csv
import json
import math
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet import files
from alexnet.cli import main
from alexnet.datasets import Images
from alexnet.errors import UserError
from alexnet.inference.classifier import Classifier
from alexnet.paths import ROOT
from tests.docs.test_training_page import COMMANDS
from training import run_config
from training.checkpoint import EpochMetrics
from training.run_config import RunConfig
from training.settings import Settings
from training.tracking import mlflow as mlflow_runs
from training.tracking import run_log
from training.tracking.tensorboard import TAGS

EPOCHS = tuple(EpochMetrics(n, 2.0 - n / 8, n / 10, 1.9 - n / 8, n / 9, 60.0 + n, 0.5) for n in (1, 2, 3))
METRICS = sorted(TAGS)
PAGE_STORE = "sqlite:///mlflow.db"


@pytest.fixture(scope="module")
def empty_store(session_path: Path) -> bytes:
    """A database of MLflow's: making its tables takes longer than all else here."""
    path = session_path / "empty.db"
    try:
        mlflow_runs._require().MlflowClient(f"sqlite:///{path}").search_experiments()
    except ImportError:
        return b""
    return path.read_bytes()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: bytes) -> Path:
    """The files of a run that is tracked, in a folder of its own; the folder above is the current one."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "mlflow.db").write_bytes(empty_store)
    folder = tmp_path / "run"
    folder.mkdir()
    settings = {"epochs": 3, "learning_rate": 0.5, "horizontal_flip": True, "teacher": [], "device": "auto"}
    RunConfig(run="run", settings=settings, device="cpu", precision="fp32", environment={"torch": "2"}).write(folder)
    (folder / "best.pt").write_bytes(b"weights")
    (folder / "metrics.csv").write_text("epoch")
    return folder


def store(name: str = "mlflow.db") -> str:
    """The database in the current folder, by its whole path: MLflow keeps what it opened by its address."""
    return f"sqlite:///{Path.cwd() / name}"


def track(folder: Path, epochs: Sequence[EpochMetrics] = EPOCHS, **chosen: Any) -> None:
    """A process that trains nothing: it tracks these epochs."""
    with run_log.tracking(**{"tensorboard": False, "mlflow": None, **chosen}) as log:
        log.begin(folder, run_config.read(folder), epochs[0].epoch - 1)
        for epoch in epochs:
            log.log(epoch)


def expected(epochs: Sequence[EpochMetrics] = EPOCHS) -> dict[str, list[tuple[int, float]]]:
    return {name: [(epoch.epoch, getattr(epoch, name)) for epoch in epochs] for name in METRICS}


def written(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What `metrics.csv` says, by metric, as epochs and values."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [(int(row["epoch"]), float(row[name])) for row in rows] for name in METRICS}


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The scalars of the folder's event files, by metric, as epochs and values."""
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install -r requirements/dev.txt")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seen = EventAccumulator(str(folder)).Reload()
    return {name: [(event.step, event.value) for event in seen.Scalars(tag)] for name, tag in TAGS.items()}


def assert_same(found: dict[str, list[tuple[int, float]]], wanted: dict[str, list[tuple[int, float]]]) -> None:
    for name, values in wanted.items():
        assert [step for step, _ in found[name]] == [step for step, _ in values], name
        assert [value for _, value in found[name]] == pytest.approx([value for _, value in values], rel=1e-6), name


def client(uri: str = "") -> Any:
    pytest.importorskip("mlflow", reason="mlflow is not installed: pip install -r requirements/dev.txt")
    return mlflow_runs._require().MlflowClient(uri or store())


def mlflow_run(folder: Path, uri: str = "") -> Any:
    return client(uri).get_run(json.loads((folder / "mlflow.json").read_text())["run_id"])


def sent(folder: Path, uri: str = "") -> dict[str, list[tuple[int, float]]]:
    """What MLflow has, by metric, as epochs and values."""
    run_id = mlflow_run(folder, uri).info.run_id
    histories = {name: client(uri).get_metric_history(run_id, name) for name in METRICS}
    return {name: sorted((item.step, item.value) for item in found) for name, found in histories.items()}


def break_mlflow(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let a method of the client fail."""

    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("the answer of http://me:secret@store was lost")

    monkeypatch.setattr(type(client()), name, fail)


def test_events_hold_each_epoch_and_the_settings(run: Path) -> None:
    track(run, tensorboard=True)
    assert_same(scalars(run), expected())
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.metadata import SESSION_START_INFO_TAG, parse_session_start_info_plugin_data

    content = EventAccumulator(str(run)).Reload().SummaryMetadata(SESSION_START_INFO_TAG).plugin_data.content
    settings = parse_session_start_info_plugin_data(content).hparams
    assert settings["learning_rate"].number_value == 0.5
    assert settings["horizontal_flip"].number_value == 1
    assert settings["device"].string_value == "auto"


def test_events_of_a_resumed_run_are_whole_and_not_doubled(run: Path) -> None:
    track(run, EPOCHS[:2], tensorboard=True)
    track(run, EPOCHS[1:], tensorboard=True)  # the second epoch was not saved when the first process was killed
    assert_same(scalars(run), expected())


def test_what_was_not_measured_is_left_out(run: Path) -> None:
    epoch = EpochMetrics(1, 2.0, 0.1, None, None, 60.0, 0.5)
    assert client()
    track(run, [epoch], tensorboard=True, mlflow=store())
    assert client().get_metric_history(mlflow_run(run).info.run_id, "validation_loss") == []
    assert client().get_metric_history(mlflow_run(run).info.run_id, "training_loss")[0].value == 2.0
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert TAGS["validation_loss"] not in EventAccumulator(str(run)).Reload().Tags()["scalars"]


def test_mlflow_holds_each_epoch_the_settings_and_the_files(run: Path) -> None:
    assert client()
    track(run, mlflow=store())
    assert_same(sent(run), expected())
    kept = mlflow_run(run)
    assert (kept.info.status, kept.info.run_name) == ("FINISHED", "run")
    settings = {"epochs": "3", "learning_rate": "0.5", "horizontal_flip": "True", "teacher": "[]"}
    assert kept.data.params == {**settings, "device": "cpu", "precision": "fp32"}
    assert kept.data.tags["torch"] == "2"
    assert client().get_experiment(kept.info.experiment_id).name == mlflow_runs.EXPERIMENT
    kept_files = sorted(item.path for item in client().list_artifacts(kept.info.run_id))
    assert kept_files == ["best.pt", "config.json", "metrics.csv"]
    copy = Path(client().download_artifacts(kept.info.run_id, "metrics.csv"))
    assert copy.read_bytes() == (run / "metrics.csv").read_bytes()


def test_a_resumed_run_continues_its_mlflow_run(run: Path) -> None:
    assert client()
    track(run, EPOCHS[:2], mlflow=store())
    before = mlflow_run(run)
    track(run, EPOCHS[2:], mlflow=store())
    assert mlflow_run(run).info.run_id == before.info.run_id
    assert_same(sent(run), expected())
    assert len(client().search_runs([before.info.experiment_id])) == 1


def test_a_run_of_another_store_is_a_new_one_there(run: Path, empty_store: bytes) -> None:
    assert client()
    track(run, EPOCHS[:1], mlflow=store())
    other = store("other.db")
    Path("other.db").write_bytes(empty_store)
    track(run, EPOCHS[1:], mlflow=other)
    assert_same(sent(run, other), expected(EPOCHS[1:]))


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "KILLED"), (UserError, "FAILED")])
def test_how_a_run_ended_is_told_and_that_it_runs_again(run: Path, error: type[BaseException], status: str) -> None:
    assert client()

    def stop() -> None:
        with run_log.tracking(tensorboard=False, mlflow=store()) as log:
            log.begin(run, run_config.read(run), 0)
            raise error("stopped")

    with pytest.raises(error):
        stop()
    assert mlflow_run(run).info.status == status
    assert [item.path for item in client().list_artifacts(mlflow_run(run).info.run_id)] == list(mlflow_runs.ARTEFACTS)
    with run_log.tracking(tensorboard=False, mlflow=store()) as log:
        log.begin(run, run_config.read(run), 1)
        assert mlflow_run(run).info.status == "RUNNING"
    assert mlflow_run(run).info.status == "FINISHED"


@pytest.mark.parametrize("name", ["log_batch", "set_terminated"])
def test_a_tracker_that_fails_is_one_line_and_the_other_goes_on(
    run: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert client()
    track(run, EPOCHS[:1], mlflow=store())
    break_mlflow(monkeypatch, name)
    track(run, EPOCHS[1:], tensorboard=True, mlflow=store())
    assert_same(scalars(run), expected(EPOCHS[1:]))
    errors = capsys.readouterr().err
    assert errors == "alexnet: MLflow failed (the answer of http://store was lost); training continues without it\n"


@pytest.mark.parametrize(
    ("uri", "complaint"),
    [
        ("http://me:secret@127.0.0.1:9", "--mlflow http://127.0.0.1:9: API request to http://127.0.0.1:9/"),
        ("htp://store", "--mlflow htp://store: "),
        ("mlruns", "--mlflow mlruns: The filesystem tracking backend"),
        ("postgresql://me:secret@127.0.0.1:9/runs", "--mlflow postgresql://127.0.0.1:9/runs: "),
    ],
)
def test_a_wrong_address_is_one_line_before_anything_begins(
    run: Path, data_root: Path, init_file: Path, uri: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert client()
    place = ["--data", str(data_root), "--init", str(init_file), "--validation-images", "10"]
    for command in (["train", "--output", "new", *place], ["export", str(run), "--output", "new"]):
        assert main([*command, "--mlflow", uri]) == 1
        errors = capsys.readouterr().err
        assert errors.startswith(f"alexnet: {complaint}"), errors
        assert errors.endswith(
            "; give the address of a server, http://HOST:PORT, or of a database, sqlite:///mlflow.db\n"
        )
        assert errors.count("\n") == 1
        assert "secret" not in errors
    assert sorted(path.name for path in Path().iterdir()) == ["mlflow.db", "run"]


@pytest.mark.parametrize(
    ("package", "flags", "complaint"),
    [
        ("mlflow", ["--mlflow", PAGE_STORE], "this needs mlflow: pip install 'alexnet-cifar10[mlflow]'"),
        (
            "tensorboard",
            ["--tensorboard"],
            "this needs tensorboard: pip install 'alexnet-cifar10[tensorboard]'",
        ),
    ],
)
def test_a_missing_package_is_one_line(run: Path, package: str, flags: list[str], complaint: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from alexnet.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "train", "--output", str(run / "new"), *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"alexnet: {complaint}\n")


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--register", "x"], "--register needs --mlflow URI"),
        (["--mlflow", PAGE_STORE], "config.json: missing; give the folder of a run"),
    ],
)
def test_what_cannot_be_registered_is_one_line(
    run: Path, flags: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "config.json").unlink()
    assert main(["export", str(run), *flags]) == 1
    errors = capsys.readouterr().err
    assert complaint in errors
    assert errors.count("\n") == 1


def test_only_the_first_process_of_torchrun_tracks(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    before = sorted(run.parent.rglob("*"))
    track(run, tensorboard=True, mlflow=store())
    assert sorted(run.parent.rglob("*")) == before


class _Proxy(BaseHTTPRequestHandler):
    """Counts who wants to go out, and lets nobody."""

    def do_CONNECT(self) -> None:
        self.server.wanted.append(self.path)  # type: ignore[attr-defined]
        self.send_error(503)

    do_GET = do_POST = do_CONNECT  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


def test_mlflow_reports_to_nobody(run: Path) -> None:
    assert client()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Proxy)
    server.wanted = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    code = "import sys, time; from pathlib import Path; from training.tracking import run_log\n"
    code += "from training import run_config; folder = Path(sys.argv[2])\n"
    code += "with run_log.tracking(tensorboard=False, mlflow=sys.argv[1]) as log:\n"
    code += "    log.begin(folder, run_config.read(folder), 0)\n"
    code += "from mlflow.telemetry import get_telemetry_client; assert get_telemetry_client() is None; time.sleep(1)"
    # MLflow keeps silent by itself where it sees tests or CI.
    kept = {name: found for name, found in os.environ.items() if name in ("PATH", "HOME", "OMP_NUM_THREADS")}
    proxy = f"http://127.0.0.1:{server.server_port}"
    environment = {**kept, "PYTHONPATH": str(ROOT), "https_proxy": proxy, "http_proxy": proxy}
    command = [sys.executable, "-c", code, store(), str(run)]
    done = subprocess.run(command, cwd=run.parent, env=environment, capture_output=True, text=True, check=False)
    server.shutdown()
    server.server_close()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert server.wanted == []  # type: ignore[attr-defined]


def test_the_commands_of_the_page_train_resume_export_and_register(
    run: Path, data_root: Path, small_settings: Settings, fixture_images: Images, capsys: pytest.CaptureFixture[str]
) -> None:
    assert client()
    commands = [shlex.split(command.replace(PAGE_STORE, store()))[1:] for command in COMMANDS if "--mlflow" in command]
    first, again, export = commands
    assert [command[0] for command in commands] == ["train", "train", "export"]
    small = ["width", "batch_size", "learning_rate", "dropout", "validation_images", "input_size", "init", "device"]
    flags = [f"--{name.replace('_', '-')}={getattr(small_settings, name)}" for name in small]
    assert main([*first, *flags, "--epochs=1", f"--data={data_root}"]) == 0
    assert main([*again, "--epochs=3", f"--data={data_root}"]) == 0
    folder = Path(again[again.index("--resume") + 1])
    assert_same(scalars(folder), written(folder))
    assert_same(sent(folder), written(folder))
    assert [rate for _, rate in written(folder)["learning_rate"]] == [small_settings.learning_rate] * 3
    assert mlflow_run(folder).info.status == "FINISHED"

    capsys.readouterr()
    assert main([*export, f"--data={data_root}"]) == 0
    name = export[export.index("--register") + 1]
    assert f"MLflow: models:/{name}/1\n" in capsys.readouterr().out
    (version,) = client().search_model_versions(f"name = '{name}'")
    assert version.run_id == mlflow_run(folder).info.run_id
    assert mlflow_run(folder).info.status == "FINISHED"
    (logged,) = client().search_logged_models([mlflow_run(folder).info.experiment_id])
    assert logged.model_id == version.source.removeprefix("models:/")

    import mlflow

    model = Path(export[export.index("--output") + 1])
    loaded = mlflow.pyfunc.load_model(f"models:/{name}/1")
    assert loaded.metadata.metadata["sha256"] == files.sha256(model)
    taken, given = loaded.metadata.signature.inputs.inputs, loaded.metadata.signature.outputs.inputs
    assert [(item.name, str(item.type), item.shape) for item in taken] == [("pixels", "uint8", (-1, 32, 32, 3))]
    assert [(item.name, str(item.type), item.shape) for item in given] == [("probabilities", "float32", (-1, 10))]
    pixels = fixture_images.pixels[:5]
    found = loaded.predict(pixels)["probabilities"]
    np.testing.assert_allclose(found, Classifier(model).run(pixels).probabilities, atol=1e-6)
    assert math.isclose(float(found[0].sum()), 1, abs_tol=1e-5)
    with pytest.raises(mlflow.MlflowException):
        loaded.predict(pixels.astype(np.float32))


def test_the_model_of_a_run_that_was_not_tracked_brings_its_settings(
    small_run: Path, small_model: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert client()
    (run / "config.json").write_bytes((small_run / "config.json").read_bytes())
    run_log.model_logger(run / "best.pt", store(), None)(small_model)
    kept = mlflow_run(run)
    assert (kept.info.status, kept.info.run_name, kept.data.params["batch_size"]) == ("FINISHED", "small", "30")
    assert capsys.readouterr().out.startswith("MLflow: models:/m-")
