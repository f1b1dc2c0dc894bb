"""Which metrics and labels a PromQL expression names."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import promql_parser as promql

from monitoring.metrics import BARYON, VLLM, Metric

REGISTRY = {metric.name: metric for metric in (*BARYON, *VLLM)}
OF_PROMETHEUS = {
    "up": {"job", "instance"},
    "ALERTS": {"alertname", "alertstate", "severity"},
}
ADDED_BY_SCRAPE = {"job", "instance"}
GRAFANA = {"$__rate_interval": "5m", "$__interval": "1m", "$__range": "1h"}


@dataclass(frozen=True, slots=True)
class Named:
    metric: str
    labels: frozenset[str]


def without_variables(expr: str, values: dict[str, str] = GRAFANA) -> str:
    """As Grafana would send it."""
    for variable in sorted(values, key=len, reverse=True):
        expr = expr.replace(variable, values[variable])
    return expr


def named_in(expr: str) -> list[Named]:
    """Each selector, with the labels it matches and those by which it is grouped around it."""
    return list(_walk(promql.parse(without_variables(expr)), frozenset()))


def unknown_in(expr: str, recorded: Iterable[str] = ()) -> list[str]:
    """What is not in the registry, in words; `recorded`: names of recording rules."""
    wrong = []
    for named in named_in(expr):
        if named.metric in recorded:
            continue
        labels = known_labels(named.metric)
        if labels is None:
            wrong.append(f"{named.metric} is no metric of the registry")
        elif more := named.labels - labels:
            wrong.append(f"{named.metric} has no label {', '.join(sorted(more))}")
    return wrong


def known_labels(name: str) -> set[str] | None:
    if name in OF_PROMETHEUS:
        return OF_PROMETHEUS[name]
    metric, more = metric_of(name)
    return None if metric is None else {*metric.labels, *more, *ADDED_BY_SCRAPE}


def metric_of(name: str) -> tuple[Metric | None, set[str]]:
    if name in REGISTRY and REGISTRY[name].kind != "histogram":
        return REGISTRY[name], set()
    for suffix in ("_bucket", "_sum", "_count"):
        metric = REGISTRY.get(name.removesuffix(suffix))
        if name.endswith(suffix) and metric is not None and metric.kind == "histogram":
            return metric, {"le"} if suffix == "_bucket" else set()
    return None, set()


def _walk(node: object, grouped: frozenset[str]) -> Iterator[Named]:
    if isinstance(node, promql.VectorSelector):
        matched = {matcher.name for matcher in node.matchers.matchers if matcher.name != "__name__"}
        yield Named(node.name or "", grouped | matched)
    elif isinstance(node, promql.MatrixSelector):
        yield from _walk(node.vector_selector, grouped)
    elif isinstance(node, promql.AggregateExpr):
        by = node.modifier.labels if node.modifier and node.modifier.type == promql.AggModifierType.By else []
        yield from _walk(node.expr, grouped | frozenset(by))
    elif isinstance(node, promql.Call):
        for argument in node.args:
            yield from _walk(argument, grouped)
    elif isinstance(node, promql.BinaryExpr):
        yield from _walk(node.lhs, grouped)
        yield from _walk(node.rhs, grouped)
    elif isinstance(node, promql.ParenExpr | promql.UnaryExpr | promql.SubqueryExpr):
        yield from _walk(node.expr, grouped)
    elif not isinstance(node, promql.NumberLiteral | promql.StringLiteral):
        raise TypeError(f"not looked into: {type(node).__name__}")
