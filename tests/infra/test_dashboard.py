"""The dashboard draws every metric, none that is not, by tags that it has; and Grafana can lay it out."""

import json
import re

import pytest
import yaml

from distspec.stages.metrics import METRICS, RECIPE_TAG
from tests.infra.deployment import GUIDE, LAUNCHERS, NETWORK, TOP, here

DASHBOARD = json.loads((TOP / "infra" / "grafana" / "distspec.json").read_text())
PANELS = DASHBOARD["panels"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
KNOWN = {metric.prometheus_name: metric for metric in METRICS}


def drawn(expression):
    return re.findall(r"\bray_distspec_\w+", expression)


def test_every_metric_is_drawn_and_every_drawn_one_is_there():
    assert {name for each in EXPRESSIONS for name in drawn(each)} == set(KNOWN)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_use_metrics_as_what_they_are(expression):
    (name,) = drawn(expression)
    metric = KNOWN[name]
    grows = re.search(r"\b(rate|increase)\s*\(", expression) is not None
    assert grows == (metric.metric_type == "counter"), "of a counter only the growth means something"
    used = set(re.findall(r"(\w+)(?:=~|!=|=)\"", expression))
    for group in re.findall(r"by \(([^)]*)\)", expression):
        used |= {tag.strip() for tag in group.split(",")}
    assert used <= {RECIPE_TAG, *metric.tags}
    assert expression.count("(") == expression.count(")")
    assert expression.count("{") == expression.count("}")


def test_legends_name_tags_that_are_kept():
    for panel in PANELS:
        for target in panel["targets"]:
            kept = {
                tag.strip()
                for group in re.findall(r"by \(([^)]*)\)", target["expr"])
                for tag in group.split(",")
            }
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) == kept, panel["title"]


def test_panels_are_laid_out_side_by_side_and_say_what_they_show():
    assert len({panel["id"] for panel in PANELS}) == len({panel["title"] for panel in PANELS}) == len(PANELS)
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in PANELS)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells)), "they overlap"
    assert max(x for x, _ in cells) < 24, "Grafana has 24 columns"
    for panel in PANELS:
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"


def test_what_is_chosen_is_asked_of_prometheus():
    chosen = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert set(chosen) == {"datasource", "recipe"}
    assert chosen["recipe"]["query"]["query"] == f"label_values(ray_distspec_running, {RECIPE_TAG})"


def test_the_guide_explains_every_metric():
    told = re.findall(r"^\| `(ray_distspec_\w+)` \|", here().texts[GUIDE], re.MULTILINE)
    assert told == [metric.prometheus_name for metric in METRICS]


def test_prometheus_finds_every_node():
    """By the port that all nodes are started with, the labels that pods have, and through the policy."""
    deployment, port = here(), 8080
    for name in LAUNCHERS:
        for command in ("head", "worker"):
            (start,) = [
                each
                for each in deployment.document(name)[f"{command}_start_ray_commands"]
                if "ray start" in each
            ]
            assert f"--metrics-export-port={port}" in start
    monitor = yaml.safe_load((TOP / "infra" / "grafana" / "podmonitor.yaml").read_text())
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    for spec in deployment.clusters().values():
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
            assert wanted <= group["template"]["metadata"]["labels"].items()
    (rule,) = [
        each
        for each in deployment.document(NETWORK)["spec"]["ingress"]
        if {"protocol": "TCP", "port": port} in each.get("ports", [])
    ]
    assert len(rule["ports"]) == 1
    assert rule["from"] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    ]
