"""A dashboard as Grafana's JSON: the classic model, which Grafana 10 and later read from files."""

import json
from typing import Any

from monitoring.panel import Dashboard, Panel, Query, Row, Variable

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
SCHEMA_VERSION = 38
GRID_WIDTH = 24
HEADLINE_HEIGHT = 1
JSON = dict[str, Any]


def dashboard_file(dashboard: Dashboard) -> tuple[str, str]:
    """Its name and text."""
    return f"{dashboard.uid}.json", json.dumps(dashboard_json(dashboard), indent=1) + "\n"


def dashboard_json(dashboard: Dashboard) -> JSON:
    """`id` is None: Grafana gives it one; `uid` is ours and part of every address."""
    return {
        "id": None,
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["baryon"],
        "timezone": "browser",
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "time": {"from": "now-1h", "to": "now"},
        "links": [_links()],
        "templating": {"list": [_datasource(), *map(_variable, dashboard.variables)]},
        "annotations": {"list": []},
        "panels": _layout(dashboard.rows),
    }


def _links() -> JSON:
    return {
        "type": "dashboards",
        "title": "Baryon",
        "tags": ["baryon"],
        "asDropdown": True,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "icon": "",
        "tooltip": "",
    }


def _datasource() -> JSON:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "hide": 0,
        "refresh": 1,
        "multi": False,
        "includeAll": False,
    }


def _variable(variable: Variable) -> JSON:
    query = f"label_values({variable.metric}, {variable.label})"
    chosen = {"current": {"selected": True, "text": ["All"], "value": ["$__all"]}} if variable.several else {}
    return {
        "name": variable.name,
        "label": variable.name.capitalize(),
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": variable.name},
        "hide": 0,
        "refresh": 2,
        "sort": 1,
        "multi": variable.several,
        "includeAll": variable.several,
        **({"allValue": ".*"} if variable.several else {}),
        **chosen,
    }


def _layout(rows: tuple[Row, ...]) -> list[JSON]:
    """Panels from left to right under the headline of their row."""
    placed: list[JSON] = []
    y = 0
    for number, row in enumerate(rows, 1):
        placed.append(_headline(row.title, 1000 + number, y))
        x, y, height = 0, y + HEADLINE_HEIGHT, 0
        for panel in row.panels:
            if x + panel.width > GRID_WIDTH:
                x, y, height = 0, y + height, 0
            placed.append(_panel(panel, x, y))
            x, height = x + panel.width, max(height, panel.height)
        y += height
    return placed


def _headline(title: str, id: int, y: int) -> JSON:
    place = {"x": 0, "y": y, "w": GRID_WIDTH, "h": HEADLINE_HEIGHT}
    return {"type": "row", "id": id, "title": title, "collapsed": False, "gridPos": place, "panels": []}


def _panel(panel: Panel, x: int, y: int) -> JSON:
    return {
        "type": panel.kind,
        "id": panel.id,
        "title": panel.title,
        "description": panel.description + (f" Needs {panel.needs}." if panel.needs else ""),
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
        "targets": [_target(panel, query, number) for number, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _field_defaults(panel), "overrides": []},
        "options": _options(panel),
        "transformations": _transformations(panel),
    }


def _target(panel: Panel, query: Query, number: int) -> JSON:
    at_once = panel.kind in ("bargauge", "table")
    return {
        "refId": chr(ord("A") + number),
        "datasource": SOURCE,
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        "range": not at_once,
        "instant": at_once,
        "format": {"heatmap": "heatmap", "table": "table"}.get(panel.kind, "time_series"),
    }


def _field_defaults(panel: Panel) -> JSON:
    steps = [
        {"value": None if number == 0 else threshold.at, "color": threshold.colour}
        for number, threshold in enumerate(panel.thresholds)
    ] or [{"value": None, "color": "text" if panel.kind == "stat" else "green"}]
    defaults: JSON = {
        "unit": panel.unit,
        "noValue": f"needs {panel.needs}" if panel.needs else panel.quiet,
        "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
        "thresholds": {"mode": "absolute", "steps": steps},
        "custom": _custom(panel),
    }
    if panel.kind in ("timeseries", "bargauge"):
        defaults["min"] = 0
    if panel.highest is not None:
        defaults["max"] = panel.highest
    return defaults


def _custom(panel: Panel) -> JSON:
    if panel.kind != "timeseries":
        return {}
    return {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 30 if panel.stacked else 5,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "line" if panel.thresholds else "off"},
    }


def _options(panel: Panel) -> JSON:
    last = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    if panel.kind == "stat":
        return {"reduceOptions": last, "colorMode": "value", "graphMode": "area", "textMode": "auto"}
    if panel.kind == "bargauge":
        return {"reduceOptions": last, "displayMode": "basic", "orientation": "horizontal", "showUnfilled": True}
    if panel.kind == "heatmap":
        colours = {"mode": "scheme", "scheme": "Spectral", "steps": 64, "reverse": False, "exponent": 0.5}
        return {"calculate": False, "color": colours, "yAxis": {"unit": panel.unit, "axisPlacement": "left"}}
    if panel.kind == "state-timeline":
        return {"showValue": "never", "mergeValues": True, "rowHeight": 0.8, "legend": _legend("list")}
    if panel.kind == "table":
        return {"showHeader": True}
    return {"legend": _legend("table"), "tooltip": {"mode": "multi", "sort": "desc"}}


def _legend(mode: str) -> JSON:
    calcs = ["mean", "lastNotNull"] if mode == "table" else []
    return {"showLegend": True, "displayMode": mode, "placement": "bottom", "calcs": calcs}


def _transformations(panel: Panel) -> list[JSON]:
    """A table has a row for each series and a column for each query, named by its legend."""
    if panel.kind != "table":
        return []
    names = {f"Value #{chr(ord('A') + number)}": query.legend for number, query in enumerate(panel.queries)}
    return [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": names}},
    ]
