"""The dashboard shows what the service really counts."""

import json
import re

import yaml

from alexnet.paths import ROOT
from serving.metrics import Metrics

ALERTS = ROOT / "deploy" / "grafana" / "alerts.yaml"
METRIC = r"(?:alexnet|http_server|process)_\w+"
DASHBOARD = ROOT / "deploy" / "grafana" / "alexnet.json"


def exported_names() -> set[str]:
    """The names of all time series, as Prometheus sees them, and their labels' names are left out."""
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
    return {family.name + suffix for family in Metrics().registry.collect() for suffix in suffixes[family.type]}


def test_every_query_uses_a_metric_that_the_service_exports() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked = {name for query in queries for name in re.findall(METRIC, query)}
    assert asked
    assert asked <= exported_names()


def test_every_alert_uses_a_metric_that_the_service_exports() -> None:
    rules = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
    assert len({rule["alert"] for rule in rules}) == len(rules) > 3
    asked = {name for rule in rules for name in re.findall(METRIC, rule["expr"])}
    assert asked
    assert asked <= exported_names()


def test_the_dashboard_leaves_out_none_of_the_metrics() -> None:
    text = DASHBOARD.read_text()
    families = {
        re.sub(r"_(total|bucket|sum|count)$", "", name) for name in exported_names() if not name.startswith("process_")
    }
    assert [name for name in sorted(families) if name not in text] == []


def test_panels_do_not_overlap() -> None:
    cells = [
        (x, y)
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        for position in [panel["gridPos"]]
        for x in range(position["x"], position["x"] + position["w"])
        for y in range(position["y"], position["y"] + position["h"])
    ]
    assert len(cells) == len(set(cells))
