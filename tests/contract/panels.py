"""Which panels would say "No data", by a real Prometheus."""

import re
from collections.abc import Collection, Mapping

from monitoring.dashboards import DASHBOARDS
from monitoring.metrics import Metric
from monitoring.panel import Dashboard, Panel, Query
from tests.contract.prometheus import Prometheus
from tests.unit.monitoring.promql_names import OF_PROMETHEUS, metric_of, named_in, without_variables

RATE_INTERVAL, RANGE, ALL = "6s", "2m", ".*"
LABEL = re.compile(r"\{\{(\w+)\}\}")


async def what_is_missing(
    prometheus: Prometheus, chosen: Mapping[str, str], not_happened: Collection[Metric] = ()
) -> list[str]:
    """Each query of each panel that has no number now, each metric in one that was never scraped (a 0 that stands for
    nothing would hide it), each label of a legend that a series lacks, each variable that does not offer its choice.

    `chosen`: of variables by name; where it names none, all. `not_happened`: events that are counted from their first.
    """
    names = await prometheus.names()
    return await what_is_not_offered(prometheus, chosen) + [
        wrong
        for dashboard in DASHBOARDS
        for panel in dashboard.panels
        if not panel.needs
        for query in panel.queries
        for wrong in await _wrong(prometheus, query, as_shown(query, chosen), names, not_happened, dashboard, panel)
    ]


async def what_is_not_offered(prometheus: Prometheus, chosen: Mapping[str, str]) -> list[str]:
    wrong = []
    for dashboard in DASHBOARDS:
        for variable in dashboard.variables:
            offered = await prometheus.label_values(variable.metric, variable.label)
            if not offered or chosen.get(variable.name, offered[0]) not in offered:
                wrong.append(f"{dashboard.title} / ${variable.name}: {variable.metric} offers {offered}")
    return wrong


def as_shown(query: Query, chosen: Mapping[str, str]) -> str:
    """With Grafana's variables filled in."""
    names = {variable.name for dashboard in DASHBOARDS for variable in dashboard.variables}
    choices = {f"${name}": chosen.get(name, ALL) for name in names}
    return without_variables(query.expr, {"$__rate_interval": RATE_INTERVAL, "$__range": RANGE, **choices})


async def _wrong(
    prometheus: Prometheus,
    query: Query,
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
    rows = await prometheus.series(expr)
    if not rows and not excused:
        return [f"{where}: no number from {expr}"]
    lacking = [label for label in LABEL.findall(query.legend) if not all(row.labels.get(label) for row in rows)]
    return [f"{where}: a series has no label {label}" for label in lacking]
