"""Every alert fires when it should, is silent when not, and says what to do."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.dashboards import DASHBOARDS
from tests.unit.monitoring.promql_names import OF_PROMETHEUS, metric_of, named_in, unknown_in

ROOT = Path(__file__).parents[3]
RULES_FILE = ROOT / "monitoring/alerts/baryon.yaml"
RUNBOOK = (ROOT / "docs/runbook.md").read_text()
CASES = Path(__file__).parent / "alert_cases"
RULES: list[dict[str, Any]] = [rule for g in yaml.safe_load(RULES_FILE.read_text())["groups"] for rule in g["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
NAMES = sorted({rule["alert"] for rule in ALERTS})
PARTS = ("**It means:**", "**Look:**", "**Do:**")

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed: apt-get install prometheus"
)


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_prometheus_reads_the_rules() -> None:
    promtool("check", "rules", "--lint-fatal", RULES_FILE)


@needs_promtool
@pytest.mark.parametrize("alert", [pytest.param(n, marks=pytest.mark.slow) if "Burn" in n else n for n in NAMES])
def test_it_fires_when_it_should_and_is_silent_when_not(alert: str) -> None:
    promtool("test", "rules", CASES / f"{alert}.yaml")


@pytest.mark.parametrize("alert", NAMES)
def test_each_alert_has_cases_that_fire_and_cases_that_do_not(alert: str) -> None:
    cases = yaml.safe_load((CASES / f"{alert}.yaml").read_text())["tests"]
    expected = [check["exp_alerts"] for case in cases for check in case["alert_rule_test"]]
    assert all(check["alertname"] == alert for case in cases for check in case["alert_rule_test"])
    assert any(expected)
    assert not all(expected)
    severities = {(r["labels"]["severity"], r["labels"].get("window")) for r in ALERTS if r["alert"] == alert}
    assert {(e["exp_labels"]["severity"], e["exp_labels"].get("window")) for es in expected for e in es} == severities


def test_no_cases_of_an_alert_that_is_gone_are_left() -> None:
    assert sorted(path.stem for path in CASES.glob("*.yaml")) == NAMES


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_rules_name_metrics_and_labels_of_the_registry(rule: dict[str, Any]) -> None:
    assert not unknown_in(rule["expr"], RECORDED)
    for named in named_in(rule["expr"]):
        assert named.metric in RECORDED or named.metric in OF_PROMETHEUS or metric_of(named.metric)[0]


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"


@pytest.mark.parametrize("alert", NAMES)
def test_the_runbook_says_what_it_means_how_to_look_and_what_to_do(alert: str) -> None:
    section = re.search(rf"^## {alert}\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert section, f"docs/runbook.md has no section {alert}"
    for part in PARTS:
        assert part in section[1], f"{alert}: {part} is missing"


def test_the_runbook_names_panels_that_exist() -> None:
    titles = {dashboard.title.removeprefix("Baryon: "): {p.title for p in dashboard.panels} for dashboard in DASHBOARDS}
    named = re.findall(r"panel \"([^\"]+)\" \((\w[\w ]+)\)", RUNBOOK)
    assert named
    for panel, page in named:
        assert panel in titles[page], f"{page} has no panel {panel}"
