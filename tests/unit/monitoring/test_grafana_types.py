"""Dashboards are what Grafana 10 to 13 read: pages, panels, their options and queries, by Grafana's published types."""

from typing import Any

import pytest

from monitoring.dashboards import DASHBOARDS
from monitoring.grafana import dashboard_json
from tests.unit.monitoring.grafana_types import FOLDERS, VERSIONS, Document, wrong_types

pytestmark = pytest.mark.slow
each_version = pytest.mark.parametrize("version", VERSIONS)
PAGES = [dashboard_json(dashboard) for dashboard in DASHBOARDS]


@each_version
def test_grafana_s_types_take_every_dashboard(version: str) -> None:
    assert wrong_types(version, PAGES) == ""


def test_every_type_of_panel_that_we_draw_is_looked_into() -> None:
    assert {panel["type"] for page in PAGES for panel in page["panels"]} == {"row", *FOLDERS}


@each_version
def test_what_grafana_does_not_know_is_named(version: str) -> None:
    mistakes: list[tuple[str, dict[str, Any]]] = [
        ("stat", {"options": {"colourMode": "value"}}),
        ("timeseries", {"options": {"legend": {"displayMode": "tabel"}}}),
        ("timeseries", {"fieldConfig": {"defaults": {"custom": {"lineWidths": 1}}, "overrides": []}}),
        ("table", {"fieldConfig": {"defaults": {"color": {"mode": "bright"}}, "overrides": []}}),
        ("bargauge", {"gridPos": {"x": 0, "y": 0, "w": 1, "hight": 1}}),
    ]
    told = wrong_types(
        version, [*(_with(kind, mistake) for kind, mistake in mistakes), {**PAGES[0], "refreshes": "1s"}]
    )
    for word in ("colourMode", "tabel", "lineWidths", "bright", "hight", "refreshes"):
        assert word in told


def _with(kind: str, mistake: dict[str, Any]) -> Document:
    panel = next(panel for page in PAGES for panel in page["panels"] if panel["type"] == kind)
    return {**PAGES[0], "panels": [{**panel, **mistake}]}
