"""Tracking: what TensorBoard and MLflow are told is what metrics.csv says, once, whatever failed on the way."""

import csv
import json
import math
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable
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
from training.settings import Settings
from training.tracking import mlflow as mlflow_runs
from training.tracking import run_log
from training.tracking.tensorboard import TAGS, Events

ROWS = 3
SECONDS = 60.0
METRICS = sorted(TAGS)
PAGE_STORE = "sqlite:///mlflow.db"


@pytest.fixture(scope="module")
def empty_store(session_path: Path) -> bytes:
    """A database of MLflow's: making its tables takes longer than all else here."""
    path = session_path / "empty.db"
    try:
        mlflow_runs._require().MlflowClient(f"sqlite:///{path}").search_experiments()
    except UserError:
        return b""
    return path.read_bytes()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: bytes) -> Path:
    """The files of a run that are tracked, of three epochs, in a folder of its own that is the current one."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "mlflow.db").write_bytes(empty_store)
    folder = tmp_path / "run"
    folder.mkdir()
    settings = {"epochs": ROWS, "learning_rate": 0.5, "flip": True, "device": "auto", "precision": "auto"}
    config = {"run": "run", "settings": settings, "device": "cpu", "precision": "fp32", "environment": {"torch": "2"}}
    files.write_json(folder / "config.json", config)
    (folder / "best.pt").write_bytes(b"weights")
    write_rows(folder, ROWS)
    return folder


def store(name: str = "mlflow.db") -> str:
    """The database in the current folder, by its whole path: MLflow keeps what it opened by its address."""
    return f"sqlite:///{Path.cwd() / name}"


def write_rows(folder: Path, count: int) -> None:
    """A `metrics.csv` of `count` epochs, no two values of which are equal."""
    rows = [(epoch, *(value(name, epoch) for name in METRICS)) for epoch in range(1, count + 1)]
    files.write_csv(folder / "metrics.csv", ("epoch", *METRICS), rows)


def value(name: str, epoch: int) -> float:
    return SECONDS + epoch if name == "seconds" else METRICS.index(name) + epoch / 8


def written(folder: Path) -> dict[str, dict[int, float]]:
    """What `metrics.csv` says, by metric and epoch."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: {int(row["epoch"]): float(row[name]) for row in rows} for name in METRICS}


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """All scalars of the folder's event files, by metric, as steps and values in the order in which they are there."""
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install -r requirements/dev.txt")
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util.tensor_util import make_ndarray

    names = {tag: name for name, tag in TAGS.items()}
    found: dict[str, list[tuple[int, float]]] = {}
    for path in folder.glob("events.out.tfevents.*"):
        for event in EventFileLoader(str(path)).Load():
            for item in event.summary.value:
                if item.tag in names:
                    pair = (event.step, float(make_ndarray(item.tensor).item()))
                    found.setdefault(names[item.tag], []).append(pair)
    return found


def assert_events(folder: Path) -> None:
    for name, values in written(folder).items():
        steps = scalars(folder)[name]
        assert [step for step, _ in steps] == list(values), name
        assert [found for _, found in steps] == pytest.approx(list(values.values()), rel=1e-6)


def client(uri: str = "") -> Any:
    pytest.importorskip("mlflow", reason="mlflow is not installed: pip install -r requirements/dev.txt")
    return mlflow_runs._require().MlflowClient(uri or store())


def mlflow_run(folder: Path, uri: str = "") -> Any:
    return client(uri).get_run(json.loads((folder / "mlflow.json").read_text())["run_id"])


def assert_mlflow(folder: Path, uri: str = "") -> None:
    run_id = mlflow_run(folder, uri).info.run_id
    for name, values in written(folder).items():
        history = client(uri).get_metric_history(run_id, name)
        assert sorted((item.step, item.value) for item in history) == sorted(values.items()), name


def track(folder: Path, **chosen: Any) -> None:
    """A process that trains nothing: it tracks what is there."""
    with run_log.following(**{"tensorboard": False, "mlflow": None, **chosen}) as watch:
        watch(folder)


def break_mlflow(monkeypatch: pytest.MonkeyPatch, name: str) -> Callable[[], None]:
    """Let a method of the client fail after it has done its work, as when the answer is lost; returns the mending."""
    kind = type(client())
    whole = getattr(kind, name)

    def fail(*given: Any, **named: Any) -> None:
        whole(*given, **named)
        raise ConnectionError("the answer of http://me:secret@store was lost")

    monkeypatch.setattr(kind, name, fail)
    return lambda: monkeypatch.setattr(kind, name, whole)


def test_events_hold_each_epoch_and_the_settings(run: Path) -> None:
    track(run, tensorboard=True)
    assert_events(run)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.metadata import SESSION_START_INFO_TAG, parse_session_start_info_plugin_data

    seen = EventAccumulator(str(run)).Reload()
    content = seen.SummaryMetadata(SESSION_START_INFO_TAG).plugin_data.content
    settings = parse_session_start_info_plugin_data(content).hparams
    assert settings["learning_rate"].number_value == 0.5
    assert settings["flip"].number_value == 1
    assert settings["device"].string_value == "auto"
    times = [event.wall_time for event in seen.Scalars(TAGS["training_loss"])]
    assert np.diff(times).tolist() == pytest.approx([SECONDS + 2, SECONDS + 3], abs=0.01)


def test_events_of_a_continued_run_are_whole_and_not_doubled(run: Path) -> None:
    write_rows(run, 2)
    killed = Events()  # never ended
    killed.send(run, *run_log.read(run))
    with run_log.following(tensorboard=True, mlflow=None) as watch:
        watch(run)
        write_rows(run, 3)
        watch(run)
        assert_events(run)  # while it runs, too
    assert_events(run)


def test_an_epoch_without_a_learning_rate_is_tracked_without(run: Path) -> None:
    text = (run / "metrics.csv").read_text().replace(f",{value('learning_rate', 1)},", ",,")
    (run / "metrics.csv").write_text(text)
    track(run, tensorboard=True)
    assert [step for step, _ in scalars(run)["learning_rate"]] == [2, 3]
    assert [step for step, _ in scalars(run)["seconds"]] == [1, 2, 3]


def test_mlflow_holds_each_epoch_the_settings_and_the_files(run: Path) -> None:
    assert client()
    track(run, mlflow=store())
    assert_mlflow(run)
    kept = mlflow_run(run)
    assert (kept.info.status, kept.info.run_name) == ("FINISHED", "run")
    settings = {"epochs": "3", "learning_rate": "0.5", "flip": "True", "device": "cpu", "precision": "fp32"}
    assert kept.data.params == settings
    assert kept.data.tags["torch"] == "2"
    assert client().get_experiment(kept.info.experiment_id).name == mlflow_runs.EXPERIMENT
    assert sorted(item.path for item in client().list_artifacts(kept.info.run_id)) == [
        "best.pt",
        "config.json",
        "metrics.csv",
    ]
    copy = Path(client().download_artifacts(kept.info.run_id, "metrics.csv"))
    assert copy.read_bytes() == (run / "metrics.csv").read_bytes()
    history = client().get_metric_history(kept.info.run_id, "seconds")
    times = sorted(item.timestamp for item in history)
    assert np.diff(times).tolist() == [1000 * (SECONDS + 2), 1000 * (SECONDS + 3)]


def test_a_resumed_run_continues_its_mlflow_run_without_doubles(run: Path) -> None:
    write_rows(run, 2)
    killed = mlflow_runs.MlflowRuns(store(), training=True) if client() else None
    killed.send(run, *run_log.read(run))
    before = mlflow_run(run)
    assert before.info.status == "RUNNING"
    write_rows(run, 3)
    track(run, mlflow=store())
    assert mlflow_run(run).info.run_id == before.info.run_id
    assert_mlflow(run)
    assert len(client().search_runs([before.info.experiment_id])) == 1


def test_a_run_that_another_store_knows_is_sent_whole(run: Path, empty_store: bytes) -> None:
    track(run, mlflow=store() if client() else None)
    other = store("other.db")
    Path("other.db").write_bytes(empty_store)
    before = (run / mlflow_runs.FILE).read_text()
    track(run, mlflow=other)
    assert (run / mlflow_runs.FILE).read_text() != before
    assert_mlflow(run, other)


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "KILLED"), (UserError, "FAILED")])
def test_how_a_run_ended_is_told_and_that_it_runs_again(run: Path, error: type[BaseException], status: str) -> None:
    assert client()

    def stop() -> None:
        with run_log.following(tensorboard=False, mlflow=store()) as watch:
            watch(run)
            raise error

    with pytest.raises(error):
        stop()
    assert mlflow_run(run).info.status == status
    assert [item.path for item in client().list_artifacts(mlflow_run(run).info.run_id)] == list(mlflow_runs.ARTEFACTS)
    with run_log.following(tensorboard=False, mlflow=store()) as watch:
        watch(run)
        assert mlflow_run(run).info.status == "RUNNING"
    assert mlflow_run(run).info.status == "FINISHED"


def test_a_server_that_fails_in_the_middle_is_a_line_and_gets_the_rest_at_the_end(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert client()
    write_rows(run, 1)
    with run_log.following(tensorboard=False, mlflow=store()) as watch:
        watch(run)
        mend = break_mlflow(monkeypatch, "log_batch")
        for count in (2, 3):
            write_rows(run, count)
            watch(run)
        mend()
    assert_mlflow(run)
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1, errors
    assert errors.startswith("alexnet: MLflow failed (the answer of http://store was lost); training goes on")


def test_a_server_that_is_tried_again_after_a_while_gets_the_rest(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client()
    monkeypatch.setattr(run_log, "_PAUSE", 0)
    write_rows(run, 1)
    with run_log.following(tensorboard=False, mlflow=store()) as watch:
        mend = break_mlflow(monkeypatch, "log_batch")
        watch(run)
        mend()
        write_rows(run, 3)
        watch(run)
        assert_mlflow(run)


def test_a_server_that_is_gone_at_the_end_leaves_the_way_to_send_the_rest(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert client()
    with run_log.following(tensorboard=False, mlflow=store()) as watch:
        watch(run)
        mend = break_mlflow(monkeypatch, "set_terminated")
    assert f"what is missing is sent by the same flag with --resume {run}\n" in capsys.readouterr().err
    mend()
    track(run, mlflow=store())
    assert_mlflow(run)
    assert capsys.readouterr().err == ""


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
        (["--mlflow", PAGE_STORE], "no folder of a run, with its config.json and metrics.csv"),
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
    code += "with run_log.following(tensorboard=False, mlflow=sys.argv[1]) as watch: watch(Path(sys.argv[2]))\n"
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
    assert_events(folder)
    assert_mlflow(folder)
    rates = list(written(folder)["learning_rate"].values())
    assert rates == [small_settings.learning_rate] * 3
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


def test_the_model_of_a_run_that_was_not_tracked_brings_the_run(
    small_run: Path, small_model: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert client()
    for name in ("config.json", "metrics.csv"):
        (run / name).write_bytes((small_run / name).read_bytes())
    run_log.model_log(run / "best.pt", store(), None)(small_model)
    assert_mlflow(run)
    assert mlflow_run(run).info.status == "FINISHED"
    assert capsys.readouterr().out.startswith("MLflow: models:/m-")
