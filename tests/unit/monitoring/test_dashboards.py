"""Dashboards name what is measured, and their committed JSON is what Grafana reads."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import ray
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard as GrafanasDashboard

import monitoring.dashboards
from monitoring.dashboards import DASHBOARDS
from monitoring.grafana import dashboard_file, dashboard_json
from monitoring.metrics import REQUESTS, TTFT
from monitoring.panel import Dashboard, Panel
from monitoring.promql import Scope
from tests.unit.monitoring.promql_names import REGISTRY, unknown_in

FOLDER = Path(monitoring.dashboards.__file__).parent
UNITS_OF_GRAFANA = {"none", "short", "s", "reqps", "percentunit", "bytes"}
each_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)


@each_dashboard
def test_every_query_names_metrics_and_labels_of_the_registry(dashboard: Dashboard) -> None:
    wrong = {
        f"{panel.title}: {query.expr}": unknown
        for panel in dashboard.panels
        for query in panel.queries
        if (unknown := unknown_in(query.expr))
    }
    assert not wrong


@each_dashboard
def test_every_legend_names_labels_that_its_series_keep(dashboard: Dashboard) -> None:
    for panel in dashboard.panels:
        for query in panel.queries:
            for label in re.findall(r"\{\{(\w+)\}\}", query.legend):
                assert re.search(rf"by \([^)]*\b{label}\b", query.expr) or query.expr.startswith("up{"), panel.title


@each_dashboard
def test_a_variable_offers_values_of_a_label_that_its_metric_has(dashboard: Dashboard) -> None:
    for variable in dashboard.variables:
        assert variable.label in REGISTRY[variable.metric].labels
        assert any(f'="${variable.name}"' in q.expr.replace("=~", "=") for p in dashboard.panels for q in p.queries)


def test_a_query_with_an_unknown_metric_or_label_is_named() -> None:
    assert unknown_in("sum(rate(vllm:no_such_total[5m]))") == ["vllm:no_such_total is no metric of the registry"]
    assert unknown_in('sum by (colour) (baryon_queue_waiting_requests{model="a"})') == [
        "baryon_queue_waiting_requests has no label colour"
    ]
    assert unknown_in("rate(baryon_request_ttft_seconds[5m])") == [
        "baryon_request_ttft_seconds is no metric of the registry"
    ], "a histogram has no series of its own name"
    with pytest.raises(ValueError, match="baryon_requests_total has no label tenant"):
        Scope(()).rate(REQUESTS, "tenant")
    with pytest.raises(ValueError, match="is a histogram, not a counter"):
        Scope(()).rate(TTFT)


@each_dashboard
def test_the_committed_json_is_current(dashboard: Dashboard) -> None:
    name, text = dashboard_file(dashboard)
    assert (FOLDER / name).read_text() == text, "run: make dashboards"


def test_no_json_of_a_dashboard_that_is_gone_is_left() -> None:
    assert {path.name for path in FOLDER.glob("*.json")} == {dashboard_file(dashboard)[0] for dashboard in DASHBOARDS}


@each_dashboard
def test_grafana_s_own_model_knows_every_key(dashboard: Dashboard) -> None:
    """Read and written by the types that Grafana generates from its schema: what they do not know would be lost."""
    register_default_plugins()
    ours = json.loads(dashboard_file(dashboard)[1])
    read = json.loads(JSONEncoder().encode(GrafanasDashboard.from_json(ours)))
    assert not _lost(ours, read)


@each_dashboard
def test_panels_have_ids_of_their_own_units_and_words(dashboard: Dashboard) -> None:
    assert re.fullmatch(r"[a-z-]{1,40}", dashboard.uid)
    ids, titles = [panel.id for panel in dashboard.panels], [panel.title for panel in dashboard.panels]
    assert len(set(ids)) == len(ids)
    assert len(set(titles)) == len(titles)
    for panel in dashboard.panels:
        assert panel.unit in UNITS_OF_GRAFANA, panel.title
        assert panel.description.endswith("."), panel.title
        assert panel.queries, panel.title


@each_dashboard
def test_panels_do_not_overlap(dashboard: Dashboard) -> None:
    for one, other in combinations(dashboard_json(dashboard)["panels"], 2):
        assert _apart(one["gridPos"], other["gridPos"]), (one["title"], other["title"])


def test_only_gpu_panels_may_be_empty_and_they_say_why() -> None:
    excused = [panel for dashboard in DASHBOARDS for panel in dashboard.panels if panel.needs]
    assert [panel.title for panel in excused] == ["GPU memory in use", "GPU use"]
    assert all("GPU" in panel.needs for panel in excused)


def test_the_overview_has_the_panels_that_ray_s_serve_page_embeds() -> None:
    """With RAY_GRAFANA_SERVE_DASHBOARD_UID=baryon-overview it shows ours: docs/dashboards.md."""
    overview = DASHBOARDS[0]
    asked = _panels_that_ray_embeds("QPS per application")
    assert asked == {7, 8, 15}
    assert asked <= {panel.id for panel in overview.panels}
    assert _titles(overview, asked) == [
        "Requests per second by model",
        "Failing requests per second by model",
        "Latency by model, 90th percentile",
    ]


def test_no_panel_of_the_overview_is_shown_as_one_of_serve_s_proxies() -> None:
    """For which Ray's page of Serve's own status asks the same uid."""
    asked = _panels_that_ray_embeds("Ongoing HTTP Requests")
    assert asked == {20, 21, 22, 23, 24, 25}
    assert not asked & {panel.id for panel in DASHBOARDS[0].panels}


def _titles(dashboard: Dashboard, ids: set[int]) -> list[str]:
    chosen: list[Panel] = [panel for panel in dashboard.panels if panel.id in ids]
    return [panel.title for panel in chosen]


def _panels_that_ray_embeds(first_title: str) -> set[int]:
    client = Path(ray.__file__).parent / "dashboard/client/build/static/js"
    text = next(client.glob("main.*.js")).read_text()
    listed = re.search(r'\[\{title:"' + first_title + r'"[^\]]*\]', text)
    assert listed
    return {int(number) for number in re.findall(r"panelId=(\d+)", listed[0])}


def _apart(a: dict[str, int], b: dict[str, int]) -> bool:
    return (
        a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"] or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
    )


def _lost(ours: Any, read: Any, where: str = "") -> list[str]:
    if isinstance(ours, dict):
        return [
            lost
            for key, value in ours.items()
            for lost in (
                _lost(value, read[key], f"{where}.{key}")
                if key in (read or {})
                else _unless_empty(value, f"{where}.{key}")
            )
        ]
    if isinstance(ours, list):
        if not isinstance(read, list) or len(ours) != len(read):
            return _unless_empty(ours, where)
        return [lost for i, (a, b) in enumerate(zip(ours, read, strict=True)) for lost in _lost(a, b, f"{where}[{i}]")]
    return [] if ours == read else [f"{where}: {ours!r} is read as {read!r}"]


def _unless_empty(value: Any, where: str) -> list[str]:
    return [] if value in (None, {}, []) else [f"{where} is not known"]
