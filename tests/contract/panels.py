"""Which panels would say "No data", by a real Prometheus."""

from collections.abc import Collection

from monitoring.dashboards import DASHBOARDS
from monitoring.metrics import Metric
from monitoring.panel import Dashboard, Panel, Query
from tests.contract.prometheus import Prometheus
from tests.unit.monitoring.promql_names import OF_PROMETHEUS, metric_of, named_in, without_variables

RATE_INTERVAL, RANGE = "6s", "2m"


async def what_is_missing(prometheus: Prometheus, model: str, not_happened: Collection[Metric] = ()) -> list[str]:
    """Each query of each panel that has no number now, and each metric in one that was never scraped: a 0 that stands
    for nothing would hide it. `not_happened`: events that are counted from their first on.
    """
    names = await prometheus.names()
    return [
        wrong
        for dashboard in DASHBOARDS
        for panel in dashboard.panels
        if not panel.needs
        for query in panel.queries
        for wrong in await _wrong(prometheus, as_shown(dashboard, query, model), names, not_happened, dashboard, panel)
    ]


def as_shown(dashboard: Dashboard, query: Query, model: str) -> str:
    """With Grafana's variables filled in: all models where several may be chosen."""
    chosen = {f"${variable.name}": ".*" if variable.several else model for variable in dashboard.variables}
    return without_variables(query.expr, {"$__rate_interval": RATE_INTERVAL, "$__range": RANGE, **chosen})


async def _wrong(
    prometheus: Prometheus,
    expr: str,
    names: set[str],
    not_happened: Collection[Metric],
    dashboard: Dashboard,
    panel: Panel,
) -> list[str]:
    where = f"{dashboard.title} / {panel.title}"
    absent = [named.metric for named in named_in(expr) if named.metric not in names | OF_PROMETHEUS.keys()]
    excused = {name for name in absent if metric_of(name)[0] in not_happened}
    if wrong := [f"{where}: {name} is not scraped" for name in dict.fromkeys(absent) if name not in excused]:
        return wrong
    return [] if await prometheus.values(expr) or excused else [f"{where}: no number from {expr}"]
