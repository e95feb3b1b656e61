"""The compose file and the systemd unit agree with the manifests, the service and the dashboard."""

import configparser
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from alexnet import __version__ as VERSION
from alexnet.paths import ROOT
from serving.settings import PREFIX, Settings

DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "alexnet.service"


@pytest.fixture
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return loaded


@pytest.fixture
def pod() -> dict[str, Any]:
    loaded = yaml.safe_load((DEPLOY / "kubernetes/base/deployment.yaml").read_text())
    found: dict[str, Any] = loaded["spec"]["template"]["spec"]
    return found


def test_compose_runs_the_service_within_the_limits_of_the_manifest(
    compose: dict[str, Any], pod: dict[str, Any]
) -> None:
    service, limits = compose["services"]["alexnet"], pod["containers"][0]["resources"]["limits"]
    assert f":-alexnet-cifar10:{VERSION}-cpu}}" in service["image"]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert str(service["cpus"]) == limits["cpu"]
    assert service["mem_limit"] == limits["memory"].removesuffix("i").lower()
    assert service["stop_grace_period"] == f"{pod['terminationGracePeriodSeconds']}s"
    assert service["environment"].pop("BENTOML_HOST") == "0.0.0.0"
    assert set(service["environment"]) <= {PREFIX + field.upper() for field in Settings.model_fields}


def test_compose_mounts_what_it_defines(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for config in service.get("configs", ()):
            assert yaml.safe_load(compose["configs"][config["source"]]["content"])
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source in compose["volumes"] or (DEPLOY / source).is_dir()


def test_prometheus_asks_the_service_and_grafana_asks_prometheus(compose: dict[str, Any]) -> None:
    scrape = yaml.safe_load(compose["configs"]["prometheus"]["content"])["scrape_configs"][0]
    assert scrape["static_configs"] == [{"targets": ["alexnet:3000"]}]
    (source,) = yaml.safe_load(compose["configs"]["datasources"]["content"])["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert {"alexnet", "prometheus"} <= set(compose["services"])


def test_grafana_opens_with_the_dashboard(compose: dict[str, Any]) -> None:
    home = Path(compose["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    (provider,) = yaml.safe_load(compose["configs"]["dashboards"]["content"])["providers"]
    assert str(home.parent) == provider["options"]["path"]
    assert (DEPLOY / "grafana" / home.name).is_file()


def test_the_unit_waits_for_requests_that_are_under_way(pod: dict[str, Any]) -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNIT)
    assert unit["Service"]["KillMode"] == "mixed"
    assert int(unit["Service"]["TimeoutStopSec"]) == pod["terminationGracePeriodSeconds"]


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/alexnet/.venv/bin/bentoml", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
