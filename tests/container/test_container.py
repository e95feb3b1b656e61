"""The container does what docs/guide/deployment.md promises: built and run for real, where docker or podman can."""

import csv
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.container.engine import Engine
from benchmarks.container.service import IMAGES, Image, Service, memory_bytes, start
from deploy.container import ROOT, describe_checkout
from tests.container.conftest import MAX_BODY_BYTES

CAT = "/images/cat/00000.png"
IN_FLIGHT = 32
MOST_BYTES = 450_000_000  # beyond the base image


def ask(service: Service, *arguments: str) -> dict[str, Any]:
    (line,) = service.engine(*service.client("one", *arguments)).stdout.splitlines()
    answer: dict[str, Any] = json.loads(line)
    return answer


def test_size_beyond_the_base(image: Image) -> None:
    assert image.size - image.base_size <= MOST_BYTES


def test_labels_say_what_is_inside(image: Image, service: Service) -> None:
    model = ask(service, "GET", "/model")["body"]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    assert image.labels["alexnet.model.sha256"] == model["sha256"]
    assert image.labels["org.opencontainers.image.version"] == describe_checkout()["VERSION"]
    assert image.labels["org.opencontainers.image.revision"].removesuffix("-dirty") == head


def test_nothing_of_the_build_is_left(engine: Engine, service: Service) -> None:
    script = "for name in gcc make curl gpg; do command -v $name; done; ls /app/bin | grep -E '^(uvx?|pip.*)$'"
    assert engine("exec", service.id, "sh", "-c", script, check=False).stdout == ""
    assert engine("exec", service.id, "python", "-c", "import torch", check=False).returncode != 0


def test_the_sbom_names_what_is_installed_and_the_model(engine: Engine, image: Image, service: Service) -> None:
    found = json.loads(engine("exec", service.id, "cat", image.labels["alexnet.sbom"]).stdout)
    listed = {(item["name"], item["version"]) for item in found["components"] if item["type"] == "library"}
    script = "import importlib.metadata as m; [print(d.name, d.version) for d in m.distributions()]"
    installed = engine("exec", service.id, "python", "-c", script).stdout.splitlines()
    assert listed == {tuple(line.split()) for line in installed}
    assert "onnxruntime" in {name for name, _ in listed}
    (model,) = (item for item in found["components"] if item["type"] == "machine-learning-model")
    assert model["hashes"] == [{"alg": "SHA-256", "content": image.labels["alexnet.model.sha256"]}]


def test_ready_in_the_time_that_kubernetes_gives(service: Service, deployment: dict[str, Any]) -> None:
    probe = deployment["containers"][0]["startupProbe"]
    assert service.seconds_to_ready < probe["periodSeconds"] * probe["failureThreshold"] / 2


def test_the_probes_and_the_health_check_are_answered(
    engine: Engine, service: Service, deployment: dict[str, Any]
) -> None:
    container = deployment["containers"][0]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert ask(service, "GET", container[probe]["httpGet"]["path"])["status"] == 200
    command = engine.inspect(service.id)["Config"]["Healthcheck"]["Test"]
    assert command[0] == "CMD"
    assert engine("exec", service.id, *command[1:]).returncode == 0


def test_classifies(service: Service) -> None:
    answer = ask(service, "POST", "/classify", CAT)
    assert answer["status"] == 200
    assert answer["body"]["predictions"][0]["label"] == "cat"


def test_refuses_what_is_no_image(service: Service) -> None:
    answer = ask(service, "POST", "/classify", "/ask.py")
    assert 400 <= answer["status"] < 500
    assert answer["body"]["error"]["code"]


def test_keeps_the_limits_of_its_environment(service: Service) -> None:
    answer = ask(service, "POST", "/classify", "/bento/src/models/alexnet/model.onnx")
    assert answer["status"] == 413
    assert str(MAX_BODY_BYTES) in answer["body"]["error"]["message"]


def test_one_cpu_gives_one_thread(service: Service) -> None:
    assert ask(service, "GET", "/model")["body"]["runtime"]["threads"] == 1


def test_nothing_can_be_written_but_tmp(engine: Engine, service: Service) -> None:
    for place in ("/", "/app", "/bento", "/bento/src/serving", "/var/tmp", "/home"):
        assert engine("exec", service.id, "touch", f"{place}/x", check=False).returncode != 0, place
    assert engine("exec", service.id, "touch", "/tmp/x").returncode == 0


def test_answers_what_is_in_flight_and_leaves(
    engine: Engine, image: Image, hardened: list[str], deployment: dict[str, Any]
) -> None:
    service = start(engine, image, *hardened, "-e", "ALEXNET_TIME_LIMIT=60")  # a slow machine must not fail this test
    try:
        client = subprocess.Popen(
            [engine.tool, *service.client("many", str(IN_FLIGHT), CAT)], stdout=subprocess.PIPE, text=True
        )
        assert client.stdout is not None
        assert client.stdout.readline().strip() == "in flight"
        memory = memory_bytes(service)
        started = time.monotonic()
        code = service.stop()
        seconds = time.monotonic() - started
        answers = [json.loads(line) for line in client.communicate()[0].splitlines()]
        oom_killed = engine.inspect(service.id)["State"]["OOMKilled"]
    finally:
        service.remove()
    print(f"stopped after {seconds:.1f} s, {memory / 1e6:.0f} MB, ready after {service.seconds_to_ready:.1f} s")
    assert [answer.get("status") for answer in answers] == [200] * IN_FLIGHT
    assert code == 0
    assert seconds < deployment["terminationGracePeriodSeconds"]
    assert not oom_killed
    assert 0 < memory < 0.8 * _bytes(deployment["containers"][0]["resources"]["limits"]["memory"])


def test_evaluates_a_mounted_folder(
    engine: Engine, image: Image, hardened: list[str], data_root: Path, tmp_path: Path
) -> None:
    tmp_path.chmod(0o777)
    mounts = ("-v", f"{data_root}:/data:ro", "-v", f"{tmp_path}:/output")
    command = ("alexnet", "evaluate", "--data", "/data", "--output", "/output")
    done = engine.run("--rm", *hardened, *mounts, image.id, *command)
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found["model"]["sha256"] == image.labels["alexnet.model.sha256"]
    assert np.sum(found["confusion"]) == 200
    assert "accuracy" in done.stdout


def test_predicts_a_mounted_folder(engine: Engine, image: Image, hardened: list[str], tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    mounts = ("-v", f"{IMAGES}:/images:ro", "-v", f"{tmp_path}:/output")
    command = ("alexnet", "predict", "/images", "--output", "/output/predictions.csv")
    engine.run("--rm", *hardened, *mounts, image.id, *command)
    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = sorted(path.relative_to(IMAGES) for path in IMAGES.rglob("*.png"))
    assert [row["path"] for row in rows] == [f"/images/{name}" for name in names]
    hits = sum(row["label"] == name.parent.name for row, name in zip(rows, names, strict=True))
    assert hits > 0.7 * len(names)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.csv"]


def test_the_doctor_sees_the_limits_of_the_container(engine: Engine, image: Image, hardened: list[str]) -> None:
    done = engine.run("--rm", *hardened, image.id, "alexnet", "doctor", "--json")
    found = {item["subject"]: item["found"] for item in json.loads(done.stdout)["findings"]}
    assert found["memory"] == "limited to 512 MiB"
    assert found["CPUs"].startswith("1 of ")
    assert found["torch"] == "not installed"
    assert image.labels["alexnet.model.sha256"] in found["model"]


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("ALEXNET_GPU=require", "a GPU is required"),
        ("ALEXNET_QUEUE=-1", "ALEXNET_QUEUE"),
        ("ALEXNET_API_KEY=secret", "ALEXNET_API_KEYS"),
        ("ALEXNET_MODEL=/none.onnx", "/none.onnx"),
    ],
)
def test_refuses_to_start_in_one_line(
    engine: Engine, image: Image, hardened: list[str], setting: str, complaint: str
) -> None:
    done = engine.run("--rm", *hardened, "-e", setting, image.id, check=False)
    assert done.returncode not in (0, 125, 126, 127)
    (line,) = [line for line in done.stderr.splitlines() if complaint in line]
    assert "Traceback" not in done.stderr + done.stdout
    assert line.startswith(("Error", "alexnet: "))


def _bytes(quantity: str) -> int:
    assert quantity.endswith("Mi")
    return int(quantity.removesuffix("Mi")) * 2**20
