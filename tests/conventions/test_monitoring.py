"""Metrics, dashboards and alerts name the same things. Nothing here starts a server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conventions.source import ROOT, name_of

from edgefleet.telemetry.metrics import declared_names

DASHBOARDS = sorted((ROOT / "grafana" / "dashboards").glob("*.json"))
RULES = sorted((ROOT / "prometheus" / "rules").glob("*.yml"))
RULE_TESTS = sorted((ROOT / "prometheus" / "tests").glob("*.yml"))
# Prometheus makes these itself.
OF_PROMETHEUS = {"up", "ALERTS"}
PROMQL_WORDS = set(
    (
        "abs absent and by clamp_min count delta group group_left histogram_quantile ignoring increase label_replace"
        " label_values max max_over_time min offset on or rate sum time topk unless vector without"
    ).split()
)


def metric_names(expression: str) -> set[str]:
    """Return the metrics an expression reads: identifiers that are no function, keyword, label or string."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left)\s*\([^)]*\)", "", bare)
    bare = re.sub(r"(label_values\(\s*\w+)\s*,[^)]*\)", r"\1)", bare)
    return {name for name in re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", bare) if name not in PROMQL_WORDS}


def family(name: str) -> str:
    """Return the metric a series belongs to: a histogram's buckets, sum and count are one metric."""
    return re.sub(r"_(bucket|sum|count)$", "", name)


def dashboard_expressions(path: Path) -> list[str]:
    dashboard: dict[str, Any] = json.loads(path.read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    return queries + [
        variable["definition"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"
    ]


def alerts() -> list[dict[str, Any]]:
    return [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def drawn() -> set[str]:
    expressions = [e for path in DASHBOARDS for e in dashboard_expressions(path)] + [
        str(rule["expr"]) for rule in alerts()
    ]
    return {family(name) for expression in expressions for name in metric_names(expression)} - OF_PROMETHEUS


def test_every_query_names_a_metric_that_the_fleet_exports() -> None:
    assert drawn() - set(declared_names()) == set()


def test_every_metric_is_drawn_or_alerted_on() -> None:
    """A metric nobody looks at is deleted."""
    assert set(declared_names()) - drawn() == set()


def test_the_two_rules_above_can_fail() -> None:
    assert metric_names('sum by (le) (rate(no_such_bucket{a="b"}[5m])) > 2') == {"no_such_bucket"}
    assert metric_names("label_values(edge_blended_bps, symbol)") == {"edge_blended_bps"}
    assert family("no_such_bucket") not in declared_names()


@pytest.mark.parametrize("path", DASHBOARDS, ids=name_of)
def test_a_dashboard_is_found_under_its_file_name(path: Path) -> None:
    dashboard = json.loads(path.read_text())

    assert dashboard["uid"] == path.stem
    assert [p["id"] for p in dashboard["panels"]] == list(range(1, len(dashboard["panels"]) + 1))


def test_edge_risk_has_its_four_rows() -> None:
    dashboard = json.loads((ROOT / "grafana" / "dashboards" / "edge-risk.json").read_text())

    rows = [panel["title"] for panel in dashboard["panels"] if panel["type"] == "row"]

    assert rows == ["Quick Stats", "Time Series", "Switch Log", "Alert Summary"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=name_of)
def test_panels_do_not_overlap(path: Path) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in json.loads(path.read_text())["panels"]:
        at = panel["gridPos"]
        cells = [(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])]
        assert max(x for x, _ in cells) < 24
        assert not [taken[cell] for cell in cells if cell in taken]
        taken.update(dict.fromkeys(cells, panel["title"]))


@pytest.mark.parametrize("path", DASHBOARDS, ids=name_of)
def test_every_query_reads_the_provisioned_datasource(path: Path) -> None:
    provisioned = yaml.safe_load((ROOT / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    known = {source["uid"] for source in provisioned}

    used = {
        target["datasource"]["uid"] for p in json.loads(path.read_text())["panels"] for target in p.get("targets", [])
    }

    assert used <= known


def test_dashboards_are_what_the_generator_writes() -> None:
    check = subprocess.run([sys.executable, "grafana/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True)

    assert check.returncode == 0, check.stderr


def test_every_alert_has_a_test_a_severity_and_a_summary() -> None:
    tested = "".join(path.read_text() for path in RULE_TESTS)
    patterns = [re.compile(p) for p in re.findall(r'alertname=~"([^"]+)"', tested)]

    for rule in alerts():
        assert f'"{rule["alert"]}"' in tested or any(p.fullmatch(rule["alert"]) for p in patterns), rule["alert"]
        assert rule["labels"]["severity"] in {"page", "warn"}
        assert {"summary", "description"} <= set(rule["annotations"])


def test_every_runbook_section_an_alert_names_exists() -> None:
    runbook = (ROOT / "docs" / "runbook" / "index.md").read_text()
    named = {m for rule in alerts() for m in re.findall(r"'([A-Z][^']+)'\.", rule["annotations"]["description"])}

    assert named
    assert {section for section in named if f"## {section}" not in runbook} == set()


@pytest.mark.parametrize("path", DASHBOARDS, ids=name_of)
def test_prometheus_can_read_every_query(path: Path, tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed here")
    queries = [e for e in dashboard_expressions(path) if not e.startswith("label_values(")]
    rules = [{"record": f"q{n}", "expr": e.replace("$symbol", ".*")} for n, e in enumerate(queries)]
    (tmp_path / "queries.yml").write_text(yaml.safe_dump({"groups": [{"name": path.stem, "rules": rules}]}))

    answer = subprocess.run(["promtool", "check", "rules", "queries.yml"], cwd=tmp_path, capture_output=True, text=True)

    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["promtool", "check", "config", "prometheus/prometheus.yml"],
        ["promtool", "check", "rules", *(name_of(p) for p in RULES)],
        ["promtool", "test", "rules", *(name_of(p) for p in RULE_TESTS)],
        ["amtool", "check-config", "prometheus/alertmanager.yml"],
    ],
    ids=lambda command: " ".join(command[:3]),
)
def test_prometheus_own_tools_accept_the_configuration(command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed here")

    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert answer.returncode == 0, answer.stdout + answer.stderr
