"""The dashboard shows what the service really counts."""

import json
import re

from prometheus_client import CollectorRegistry

from alexnet.paths import ROOT
from serving.metrics import Metrics

DASHBOARD = ROOT / "deploy" / "grafana" / "alexnet.json"


def exported_names() -> set[str]:
    """The names of all time series, as Prometheus sees them, and their labels' names are left out."""
    registry = CollectorRegistry()
    Metrics(registry)
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
    return {family.name + suffix for family in registry.collect() for suffix in suffixes[family.type]}


def test_every_query_uses_a_metric_that_the_service_exports() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked = {name for query in queries for name in re.findall(r"alexnet_\w+", query)}
    assert asked
    assert asked <= exported_names()


def test_the_dashboard_leaves_out_none_of_the_metrics() -> None:
    text = DASHBOARD.read_text()
    families = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in exported_names()}
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
