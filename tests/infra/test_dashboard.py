"""The Grafana dashboard shows every metric, uses existing metrics and tags, and has a valid layout."""

import json
import re

import pytest
import yaml

from distspec.stages.metrics import METRICS, RECIPE_TAG
from tests.infra.deployment import GUIDE, LAUNCHERS, NETWORK, TOP, read_deployment

DASHBOARD = json.loads((TOP / "infra" / "grafana" / "distspec.json").read_text())
PANELS = DASHBOARD["panels"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
KNOWN = {metric.prometheus_name: metric for metric in METRICS}


def find_metrics(expression):
    return re.findall(r"\bray_distspec_\w+", expression)


def test_dashboard_shows_all_metrics_and_no_others():
    assert {name for expression in EXPRESSIONS for name in find_metrics(expression)} == set(KNOWN)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_fit_the_type_and_tags_of_their_metric(expression):
    (name,) = find_metrics(expression)
    metric = KNOWN[name]
    is_rate = re.search(r"\b(rate|increase)\s*\(", expression) is not None
    assert is_rate == (metric.metric_type == "counter"), "rates are for counters only"
    used = set(re.findall(r"(\w+)(?:=~|!=|=)\"", expression))
    for group in re.findall(r"by \(([^)]*)\)", expression):
        used |= {tag.strip() for tag in group.split(",")}
    assert used <= {RECIPE_TAG, *metric.tags}
    assert expression.count("(") == expression.count(")")
    assert expression.count("{") == expression.count("}")


def test_legends_use_the_tags_of_their_expression():
    for panel in PANELS:
        for target in panel["targets"]:
            tags = {
                tag.strip()
                for group in re.findall(r"by \(([^)]*)\)", target["expr"])
                for tag in group.split(",")
            }
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) == tags, panel["title"]


def test_panels_do_not_overlap_and_are_described():
    assert len({panel["id"] for panel in PANELS}) == len({panel["title"] for panel in PANELS}) == len(PANELS)
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in PANELS)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells)), "panels overlap"
    assert max(x for x, _ in cells) < 24, "Grafana has 24 columns"
    for panel in PANELS:
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"


def test_recipes_are_listed_by_prometheus():
    variables = {item["name"]: item for item in DASHBOARD["templating"]["list"]}
    assert set(variables) == {"datasource", "recipe"}
    assert variables["recipe"]["query"]["query"] == f"label_values(ray_distspec_running, {RECIPE_TAG})"


def test_guide_describes_every_metric():
    described = re.findall(r"^\| `(ray_distspec_\w+)` \|", read_deployment().texts[GUIDE], re.MULTILINE)
    assert described == [metric.prometheus_name for metric in METRICS]


def test_prometheus_can_scrape_every_node():
    """Check the port of the metrics, the labels that the monitor selects, and the network policy."""
    deployment, port = read_deployment(), 8080
    for name in LAUNCHERS:
        for command in ("head", "worker"):
            (start,) = [
                line
                for line in deployment.document(name)[f"{command}_start_ray_commands"]
                if "ray start" in line
            ]
            assert f"--metrics-export-port={port}" in start
    monitor = yaml.safe_load((TOP / "infra" / "grafana" / "podmonitor.yaml").read_text())
    selected = monitor["spec"]["selector"]["matchLabels"].items()
    for spec in deployment.clusters().values():
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
            assert selected <= group["template"]["metadata"]["labels"].items()
    (rule,) = [
        rule
        for rule in deployment.document(NETWORK)["spec"]["ingress"]
        if {"protocol": "TCP", "port": port} in rule.get("ports", [])
    ]
    assert len(rule["ports"]) == 1
    assert rule["from"] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    ]
