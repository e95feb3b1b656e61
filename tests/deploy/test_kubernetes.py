"""The manifests are what the API of Kubernetes takes, and agree with each other and with the service.

The schemas come with kubernetes-validate; overlays are put together by `kubectl kustomize`, where kubectl is installed.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from alexnet import __version__ as VERSION
from alexnet import cli
from alexnet.paths import ROOT
from serving.settings import PREFIX, Settings

FOLDER = ROOT / "deploy" / "kubernetes"
KUBERNETES = ("1.31", "1.37")  # the oldest and the newest that the schemas are checked against
OWN_KINDS = ("Kustomization", "Component")  # of kustomize: no objects of a cluster
FOREIGN_KINDS = ("ServiceMonitor",)  # of the Prometheus operator: its schema is not among them


def objects(path: Path) -> list[dict[str, Any]]:
    return [item for item in yaml.safe_load_all(path.read_text()) if isinstance(item, dict)]


def all_objects() -> list[dict[str, Any]]:
    """Each whole object of the folder; patches are lists, and left out."""
    return [item for path in sorted(FOLDER.rglob("*.yaml")) for item in objects(path) if item["kind"] not in OWN_KINDS]


def named(kind: str) -> dict[str, Any]:
    (found,) = (item for item in all_objects() if item["kind"] == kind)
    return found


def with_pods() -> list[dict[str, Any]]:
    """The Deployment and the jobs."""
    return [item for item in all_objects() if "template" in item.get("spec", {})]


def build(name: str) -> dict[str, dict[str, Any]]:
    """The objects of an overlay by their kind."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed: the overlays are not put together")
    done = subprocess.run(["kubectl", "kustomize", FOLDER / name], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {item["kind"]: item for item in yaml.safe_load_all(done.stdout)}


def container(item: dict[str, Any]) -> dict[str, Any]:
    (found,) = item["spec"]["template"]["spec"]["containers"]
    result: dict[str, Any] = found
    return result


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("item", all_objects(), ids=lambda item: f"{item['kind']}-{item['metadata']['name']}")
def test_every_object_keeps_to_the_schema(item: dict[str, Any], version: str) -> None:
    if item["kind"] not in FOREIGN_KINDS:
        kubernetes_validate.validate(item, version, strict=True)


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", ["overlays/cpu", "overlays/gpu", "evaluate", "predict"])
def test_every_overlay_keeps_to_the_schema(name: str, version: str) -> None:
    for item in build(name).values():
        kubernetes_validate.validate(item, version, strict=True)


def test_the_schema_would_notice() -> None:
    broken = named("Service")
    broken["spec"]["prots"] = broken["spec"].pop("ports")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, KUBERNETES[-1], strict=True)


def test_the_overlays_take_the_image_of_their_kind() -> None:
    for name in ("cpu", "gpu"):
        found = build(f"overlays/{name}")
        assert container(found["Deployment"])["image"] == f"alexnet-cifar10:{VERSION}-{name}"
    for name in ("evaluate", "predict"):
        assert container(build(name)["Job"])["image"] == f"alexnet-cifar10:{VERSION}-cpu"


def test_the_gpu_overlay_asks_for_a_gpu_and_refuses_to_do_without() -> None:
    found = build("overlays/gpu")
    assert found["ConfigMap"]["data"]["ALEXNET_GPU"] == "require"
    assert container(found["Deployment"])["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "ALEXNET_GPU" not in build("overlays/cpu")["ConfigMap"]["data"]


def test_selectors_find_the_pods_and_their_port() -> None:
    deployment, service = named("Deployment"), named("Service")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    (port,) = container(deployment)["ports"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert service["spec"]["selector"] == labels
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    assert named("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    policy = named("NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"] == labels
    (rule,) = policy["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": port["name"]}]
    assert all(
        peer["namespaceSelector" if "namespaceSelector" in peer else "podSelector"]["matchLabels"]
        for peer in rule["from"]
    )
    assert named("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


def test_the_monitor_finds_the_service() -> None:
    monitor = named("ServiceMonitor")["spec"]
    service = build("overlays/cpu")["Service"]
    assert monitor["selector"]["matchLabels"] == service["metadata"]["labels"]
    assert monitor["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]


def test_nothing_may_go_out() -> None:
    policy = named("NetworkPolicy")["spec"]
    assert "Egress" in policy["policyTypes"]
    assert policy["egress"] == []


@pytest.mark.parametrize("item", with_pods(), ids=lambda item: item["metadata"]["name"])
def test_pods_have_no_right_that_they_do_not_need(item: dict[str, Any]) -> None:
    pod = item["spec"]["template"]["spec"]
    context = container(item)["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not pod["automountServiceAccountToken"]
    assert not context["allowPrivilegeEscalation"]
    assert context["readOnlyRootFilesystem"]
    assert context["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("name", ["evaluate", "predict"])
def test_a_job_gives_a_command_that_exists_and_writes_only_where_it_may(name: str) -> None:
    (job,) = (item for item in with_pods() if item["metadata"]["name"] == f"alexnet-{name}")
    run = container(job)
    program, *words = run["command"]
    assert (program, words[0]) == ("alexnet", name)
    given = cli.check(words)
    output = given["output"] if "output" in given else given["options"].output
    writable = {mount["mountPath"] for mount in run["volumeMounts"] if not mount.get("readOnly")}
    assert any(str(output).startswith(f"{place}/") for place in writable)
    volumes = {volume["name"] for volume in job["spec"]["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in run["volumeMounts"]} == volumes


def test_the_grace_period_covers_the_longest_request() -> None:
    pod = named("Deployment")["spec"]["template"]["spec"]
    sleep = int(container(named("Deployment"))["lifecycle"]["preStop"]["exec"]["command"][1])
    fields = Settings.model_fields
    longest = fields["upload_time_limit"].default + fields["time_limit"].default + 10  # as serving/service.py adds up
    assert pod["terminationGracePeriodSeconds"] > sleep + longest


def test_the_service_listens_where_others_reach_it() -> None:
    assert {"name": "BENTOML_HOST", "value": "0.0.0.0"} in container(named("Deployment"))["env"]


def test_every_setting_exists() -> None:
    known = {PREFIX + field.upper() for field in Settings.model_fields}
    used = [*named("ConfigMap")["data"], *named("Secret")["stringData"]]
    assert set(used) <= known


def test_the_keys_are_in_no_overlay() -> None:
    for name in ("overlays/cpu", "overlays/gpu"):
        assert "Secret" not in build(name)
    (secret,) = (s for s in container(named("Deployment"))["envFrom"] if "secretRef" in s)
    assert secret["secretRef"] == {"name": named("Secret")["metadata"]["name"], "optional": True}
