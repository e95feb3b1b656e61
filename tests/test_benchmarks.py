"""What `make bench` says is what it measured: verdicts, tables, files, and the page that is made from them."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet import files
from alexnet.errors import UserError
from alexnet.inference.classifier import Classifier
from alexnet.paths import MODEL
from benchmarks import (
    environments,
    harness,
    inference,
    load,
    models,
    records,
    report,
    serving,
    startup,
    systems,
    training,
)
from benchmarks.verdict import Verdict, ratio
from tests.conftest import WIDTH
from tests.models import write_model


def rows_of(kind: str, rows: Sequence[Mapping[str, object]], folder: Path) -> list[records.Row]:
    path, texts = records.write(kind, rows, {"wrk": "1"}, folder)
    assert records.read(path) == texts
    return texts


def served(system: str, model: str, clients: int, rate: float, **more: Any) -> dict[str, Any]:
    values = {
        "system": system,
        "model": model,
        "sha256": "abc",
        "round": 1,
        "clients": clients,
        "images": 1,
        "size": "32 x 32",
    }
    times = {"per_second": rate, "p50_ms": 1.0, "p95_ms": 2.0, "p99_ms": 2.5, "errors": 0}
    return {**values, **times, "images_per_second": rate, "memory_mb": 100.0, **more}


SERVED = [
    served("ours", "shipped", 32, 1300.0, round=1),
    served("ours", "shipped", 32, 1250.0, round=2),
    served("ours", "shipped", 32, 100.0, round=3),  # the median takes no notice
    served("stock BentoML", "float32", 32, 100.0),
    served("LitServe, batches", "float32", 32, 250.0),
    served("FastAPI", "shipped", 32, 1000.0),
    served("ours", "shipped", 1, 900.0),
    served("FastAPI", "shipped", 1, 900.0, p50_ms=0.8),
    served("mosec", "shipped", 32, 1000.0),
    served("bare ASGI", "shipped", 1, 900.0, p50_ms=0.5),
    served("ours", "shipped", 8, 25.0, size="4000 x 3000"),
    served("mosec", "shipped", 8, 20.0, size="4000 x 3000"),
    served("ours", "shipped", 1, 25.0, size="4000 x 3000", p50_ms=20.0),
    served("bare ASGI", "shipped", 1, 20.0, size="4000 x 3000", p50_ms=40.0),
    served("ours", "shipped", 8, 100.0, images=16, images_per_second=1600.0),
    served("ONNX Runtime alone", "shipped", 1, 125.0, images=16, images_per_second=2000.0, memory_mb=""),
]


@pytest.mark.parametrize(
    ("verdict", "line"),
    [
        (Verdict("speed", 12.34, "stock BentoML", 12), "PASS 12.3x stock BentoML (target 12x): speed"),
        (Verdict("speed", 11.99, "stock BentoML", 12), "FAIL 12.0x stock BentoML (target 12x): speed"),
        (Verdict("p99", 3.0, "our own p50", 3, at_most=True), "PASS 3.00x our own p50 (at most 3x): p99"),
        (Verdict("p99", 3.01, "our own p50", 3, at_most=True), "FAIL 3.01x our own p50 (at most 3x): p99"),
        (Verdict("start", 2.5, "to ready", 3, at_most=True, unit=" s"), "PASS 2.50 s to ready (at most 3 s): start"),
        (Verdict("speed", None, "Ray Serve", 2), "SKIP not measured: Ray Serve (target 2x): speed"),
    ],
)
def test_a_verdict_is_one_line_that_says_what_against_what_and_whether(verdict: Verdict, line: str) -> None:
    assert verdict.line() == line


@pytest.mark.parametrize(
    ("rates", "sentence"),
    [
        ([100.0], ""),
        ([0.0, 0.0], ""),  # nothing but errors
        ([100.0, 103.0, 98.0], "The rounds of a measurement differ by 5% at the median."),
        ([100.0, 140.0, 90.0], "differ by 50% at the median. The machine was not idle"),
    ],
)
def test_the_page_says_how_far_the_rounds_differ(rates: list[float], sentence: str, tmp_path: Path) -> None:
    rows = [served("ours", "shipped", 32, rate, round=number) for number, rate in enumerate(rates, 1)]
    text = serving.tables(rows_of("serving", rows, tmp_path))
    assert sentence in text
    assert ("differ" in text) == (sentence != "")
    assert ("not idle" in text) == ("not idle" in sentence)


def test_a_ratio_needs_both_sides() -> None:
    assert ratio(6.0, 3.0) == 2.0
    assert ratio(None, 3.0) is None
    assert ratio(3.0, None) is None
    assert ratio(3.0, 0.0) is None


def test_the_targets_of_serving_are_judged_by_medians_against_the_right_systems(tmp_path: Path) -> None:
    found = {v.line() for v in serving.verdicts(rows_of("serving", SERVED, tmp_path))}
    photos, many = "12-megapixel photos", "32 clients, images/s"
    assert found == {
        "FAIL 12.5x stock BentoML with the float32 model (target 18x): 32 clients, images/s",
        "FAIL 5.00x the best published system with the float32 model, LitServe, batches (target 10x): " + many,
        "FAIL 1.25x FastAPI with our model (target 1.5x): 32 clients, images/s",
        "PASS 1.25x mosec with our model (target 1.1x): 32 clients, images/s",
        "SKIP not measured: bare ASGI, two workers, with our model (target 1.1x): 32 clients, images/s",
        "SKIP not measured: ONNX Runtime alone at batch 32 (target 0.75x): 32 clients, images/s",
        "FAIL 2.00x bare ASGI with our model (at most 1.1x): 1 client, p50",
        "FAIL 1.25x FastAPI with our model (at most 0.85x): 1 client, p50",
        "SKIP not measured: ONNX Runtime alone (at most 1.35x): 1 client, p50",
        "PASS 2.50x our own p50 (at most 3x): 1 client, p99",
        "FAIL 0.80x ONNX Runtime alone (target 0.92x): batches of 16, images/s",
        f"PASS 1.25x mosec with our model and decoder (target 1.2x): {photos}, 8 clients, images/s",
        f"PASS 0.50x bare ASGI with our model and decoder (at most 0.7x): {photos}, 1 client, p50",
    }


def test_every_system_is_measured_at_what_is_judged() -> None:
    assert list(serving.loads(systems.STOCK, serving.FLOAT32)) == [serving.Load(32)]
    sizes = {item.size for item in serving.loads(systems.OURS, serving.SHIPPED)}
    assert sizes == {serving.SMALL, serving.PHOTOS}
    assert {item.size for item in serving.loads(systems.FASTAPI, serving.SHIPPED)} == {serving.SMALL}
    assert serving.Load(8, 16) not in serving.loads(systems.MOSEC, serving.SHIPPED)


def test_slow_servers_are_measured_for_longer_but_not_for_ever() -> None:
    assert serving.long_enough(2, 32, 1000) == 2
    assert serving.long_enough(2, 32, 32) == 3
    assert serving.long_enough(2, 128, 10) == 4
    assert serving.long_enough(20, 128, 10) == 20
    assert serving.long_enough(2, 32, 0) == 4


def test_openvino_is_shown_with_how_far_its_probabilities_are_from_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(model: Path, _seconds: float, images: Path, _threads: int, batches: Sequence[int]) -> dict[str, Any]:
        probabilities = Classifier(model, threads=1).run(np.load(images)).probabilities
        probabilities[3, 2] += 0.25
        return {"milliseconds": {str(n): [2.0, 4.0] for n in batches}, "probabilities": probabilities.tolist()}

    monkeypatch.setattr(systems, "run_openvino", run)
    rows = [*inference.measure({inference.SHIPPED: MODEL}, 0.01), *inference.measure_openvino(MODEL, 0.01)]
    text = inference.tables(rows_of(inference.KIND, rows, tmp_path))
    assert re.search(r"\| shipped, OpenVINO \| 1 \| 32 \| 10,667 \| 3\.00 \|", text)
    assert "differ by up to 0.250 from ONNX Runtime's" in text


def test_training_is_judged_against_the_best_setting_of_the_other_loop(tmp_path: Path) -> None:
    def row(system: str, precision: str, batch: int, rate: float) -> dict[str, Any]:
        return {"system": system, "precision": precision, "batch": batch, "device": "cpu", "images_per_second": rate}

    rates = [row(training.OURS, "bf16", 32, 100.0), row(training.OURS, "bf16", 128, 500.0)]
    rates += [row(training.PEER, "fp32", 32, 20.0), row(training.PEER, "bf16", 128, 50.0)]
    rates.append(row(training.SMALL, "fp32", 128, 150.0))
    published, small = training.verdicts(rows_of("training", rates, tmp_path))
    assert (published.value, published.passed) == (2.0, False)
    assert (small.value, small.passed) == (3.0, True)


def test_a_row_says_what_it_was_measured_with_and_when_and_its_file_too(tmp_path: Path) -> None:
    (row, *_) = rows_of("serving", SERVED, tmp_path)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", row["date"])
    assert row["cpu"]
    assert "python 3" in row["versions"]
    assert row["versions"].endswith("wrk 1")
    (path,) = tmp_path.iterdir()
    assert re.fullmatch(rf"serving-[a-z0-9-]+-{row['cpus']}-cpus-{row['date']}\.csv", path.name)
    assert records.newest("serving", tmp_path) == path
    assert records.newest("startup", tmp_path) is None
    rows_of("serving", SERVED[:1], tmp_path)
    assert len(list(tmp_path.iterdir())) == 1  # measured again on the same hardware: in place of the old


def test_the_page_is_made_from_the_files_and_says_what_is_not_measured(tmp_path: Path) -> None:
    rows_of("serving", SERVED, tmp_path)
    empty = "".join(f"<!-- {kind} -->\nold\n<!-- /{kind} -->\n" for kind in (*report.KINDS, "machines"))
    page = report.render(empty, tmp_path)
    assert "old" not in page
    assert "FAIL 12.5x stock BentoML" in page
    assert "| ours | 32 | 1 | 1,250 ± 600 |" in page
    assert "Not measured yet: `python -m benchmarks.startup`." in page
    assert report.render(page, tmp_path) == page


def test_machines_are_shown_side_by_side(tmp_path: Path) -> None:
    rows_of("serving", SERVED, tmp_path)
    (newer,) = tmp_path.iterdir()
    older = newer.read_text().replace(records.read(newer)[0]["date"], "2020-01-31").replace(",1000", ",500")
    (tmp_path / "serving-other-4-cpus-2020-01-31.csv").write_text(older)
    head, _, model, *lines = report.machines(tmp_path).splitlines()
    assert head.count("CPUs, ") == 2
    assert head.endswith("2020-01-31 |")
    assert model.count("model abc (measured on an earlier model)") == 2
    assert any(line.endswith("| 1.25x | 2.50x |") for line in lines)


def test_of_one_day_the_shipped_model_is_shown_and_all_of_its_machine(tmp_path: Path) -> None:
    rows_of("serving", SERVED, tmp_path)
    (first,) = tmp_path.iterdir()
    date = first.stem[-10:]
    shipped = tmp_path / f"serving-a-4-cpus-{date}.csv"
    shipped.write_text(first.read_text().replace(",abc,", f",{files.sha256(MODEL)[:12]},"))
    assert records.newest("serving", tmp_path) == shipped
    for name in (f"training-a-4-cpus-{date}.csv", f"training-z-4-cpus-{date}.csv", f"startup-z-4-cpus-{date}.csv"):
        (tmp_path / name).write_text("date\n")
    assert report.shown("training", tmp_path) == tmp_path / f"training-a-4-cpus-{date}.csv"
    assert report.shown("startup", tmp_path) == tmp_path / f"startup-z-4-cpus-{date}.csv"
    assert report.machines(tmp_path / "none") == "Nothing is measured yet."


def test_the_plots_can_be_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows_of("serving", SERVED, tmp_path)
    (plot,) = report.draw(tmp_path, tmp_path / "plots")
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_the_committed_page_is_what_the_generator_makes_of_the_committed_files() -> None:
    page = report.PAGE.read_text(encoding="utf-8")
    assert page == report.render(page), "run: python -m benchmarks.report"
    for plot in re.findall(r"\]\((benchmarks/.*?)\)", page):
        assert (report.PAGE.parent / plot).exists()


def test_without_wrk_one_line_says_where_to_get_it(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(load.shutil, "which", lambda _: None)
    with pytest.raises(UserError, match="apt-get install wrk"):
        load.find()
    assert serving.main(["--only", "ours"]) == 1
    assert "wrk is not installed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        ("wrk 4.2.0 [epoll] Copyright (C) 2012 Will Glozer\nUsage: wrk <options> <url>\n", "4.2.0"),
        ("wrk debian/4.1.0-3+b2 [epoll] Copyright (C) 2012 Will Glozer\n", "4.1.0-3+b2"),
        ("something else\n", "unknown"),
    ],
)
def test_the_version_of_wrk_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str, version: str
) -> None:
    wrk = tmp_path / "wrk"
    wrk.write_text(f"#!/bin/sh\ncat <<'END'\n{printed}END\nexit 1\n")
    wrk.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert load.version() == version


def test_the_service_answers_the_benchmark_rightly_and_a_wrong_model_is_found_out(tmp_path: Path) -> None:
    right = write_model(tmp_path / "right.onnx")
    wrong = write_model(tmp_path / "wrong.onnx", classes=tuple(reversed(Classifier(right).classes)))
    with systems.OURS.serve(right) as server:
        systems.check(systems.OURS, server, right)
        with pytest.raises(RuntimeError, match="not the probabilities"):
            systems.check(systems.OURS, server, wrong)


def test_a_system_with_the_open_inference_protocol_alone_is_asked_in_base64(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.onnx")
    ours = replace(systems.OURS, infer=f"/v2/models/{Classifier(model).name}/infer")
    with ours.serve(model) as server:
        systems.check(ours, server, model)
        sent = [systems.requests(ours, size, [b"no image"])[0] for size in (1, 2)]
        assert [systems.ask(server.url, ours.path(size), *sent[size - 1]) for size in (1, 2)] == [None, None]


def test_a_peer_that_does_not_stop_is_killed_and_the_service_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"]

    def ready(_: str) -> bool:
        time.sleep(0.5)  # until the signal is ignored
        return True

    monkeypatch.setattr(harness, "_SECONDS_TO_KILL", 0.1)
    monkeypatch.setattr(harness, "_SECONDS_TO_STOP", 0.1)
    with harness.running(command, ready, {}, must_stop=False) as peer:
        pass
    assert peer.process.wait(5) == -signal.SIGKILL
    with pytest.raises(RuntimeError, match="did not stop"), harness.running(command, ready, {}) as service:
        pass
    assert service.process.wait(5) == -signal.SIGKILL


def test_an_environment_is_installed_once_and_again_when_its_versions_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = tmp_path / "peers.txt"
    pins.write_text("# reasons\nmosec==1.0\nnumpy==2.0\n")
    run: list[list[str]] = []

    def succeed(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        run.append(command)
        (tmp_path / "peers").mkdir(exist_ok=True)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(environments.subprocess, "run", succeed)
    environment = environments.Environment(tmp_path / "peers", pins, ("mosec",))
    assert environment.ensure() == environment.ensure() == {"peer mosec": "1.0"}
    assert [command[0] for command in run] == [sys.executable, environment.python]
    pins.write_text("mosec==1.1\n")
    assert environment.ensure() == {"peer mosec": "1.1"}
    assert len(run) == 4
    pins.write_text("mosec==1.2\n")
    monkeypatch.setattr(environments.subprocess, "run", lambda command, check: subprocess.CompletedProcess(command, 1))
    with pytest.raises(UserError, match=r"peers.txt cannot be installed.*--only ours"):
        environment.ensure()


def test_the_fresh_model_has_the_signature_of_ours(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    path = tmp_path / "fresh.onnx"
    models.make_fresh(path, WIDTH)
    assert Classifier(path, threads=1).image_shape == (32, 32, 3)
    assert models.float32(path) == path


def test_startup_counts_one_worker_against_stock_bentoml(tmp_path: Path) -> None:
    def row(system: str, workers: int, seconds: float, environment_mb: float | str = "") -> dict[str, Any]:
        known = {"system": system, "model": "shipped", "sha256": "abc", "workers": workers}
        return {**known, "seconds_to_ready": seconds, "memory_mb": 1.0, "environment_mb": environment_mb}

    starts = [row("ours", 1, 2.0, 240.5), row("ours", 2, 9.0), row("stock BentoML", 1, 4.0)]
    assert [v.value for v in startup.verdicts(rows_of("startup", starts, tmp_path))] == [0.5, 2.0, 240.5]
