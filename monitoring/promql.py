"""PromQL from metrics of the registry: a label that a metric lacks is an error here, not an empty panel at night."""

from dataclasses import dataclass

from monitoring.metrics import Metric

LATELY = "$__rate_interval"
SHOWN = "$__range"


@dataclass(frozen=True, slots=True)
class Scope:
    """The dashboard's variables, each of which picks the label of its name in all metrics that have it."""

    variables: tuple[str, ...]
    matchers: tuple[str, ...] = ()

    def where(self, matcher: str) -> "Scope":
        """Of these series only: `outcome=~"failed|shed"`."""
        return Scope(self.variables, (*self.matchers, matcher))

    def series(self, metric: Metric, suffix: str = "", **equal: str) -> str:
        """`suffix`: `_bucket`, `_sum` or `_count` of a histogram; `equal`: labels with one value."""
        _check(metric, tuple(equal))
        chosen = [f'{name}=~"${name}"' for name in self.variables if name in metric.labels]
        chosen += [*self.matchers, *(f'{label}="{value}"' for label, value in equal.items())]
        return f"{metric.name}{suffix}" + (f"{{{','.join(chosen)}}}" if chosen else "")

    def rate(self, metric: Metric, *by: str, over: str = LATELY, **equal: str) -> str:
        """A counter per second."""
        _check(metric, by, "counter")
        return f"{_sum(by)}(rate({self.series(metric, **equal)}[{over}]))"

    def increase(self, metric: Metric, *by: str, over: str = SHOWN, **equal: str) -> str:
        """What a counter gained."""
        _check(metric, by, "counter")
        return f"{_sum(by)}(increase({self.series(metric, **equal)}[{over}]))"

    def total(self, metric: Metric, *by: str, **equal: str) -> str:
        """A gauge, added up. What state tells is told once, though two nodes may show it while state moves."""
        _check(metric, by, "gauge")
        series = self.series(metric, **equal)
        return f"{_sum(by)}({f'max{_by(metric.labels)} ({series})' if metric.owner == 'state' else series})"

    def highest(self, metric: Metric, *by: str, **equal: str) -> str:
        """The greatest of a gauge."""
        _check(metric, by, "gauge")
        return f"max{_by(by)} ({self.series(metric, **equal)})"

    def percentile(self, percent: float, metric: Metric, *by: str, over: str = LATELY, **equal: str) -> str:
        """Of a histogram."""
        _check(metric, by, "histogram")
        rate = f"rate({self.series(metric, '_bucket', **equal)}[{over}])"
        return f"histogram_quantile({percent / 100:g}, {_sum((*by, 'le'))}({rate}))"

    def buckets(self, metric: Metric, **equal: str) -> str:
        """A histogram's distribution over time."""
        _check(metric, (), "histogram")
        return f"sum by (le) (increase({self.series(metric, '_bucket', **equal)}[{LATELY}]))"

    def mean(self, metric: Metric, *by: str, over: str = LATELY, **equal: str) -> str:
        """Of a histogram."""
        _check(metric, by, "histogram")
        parts = (f"{_sum(by)}(rate({self.series(metric, suffix, **equal)}[{over}]))" for suffix in ("_sum", "_count"))
        return " / ".join(parts)

    def events(self, metric: Metric, *by: str, over: str = LATELY, **equal: str) -> str:
        """Per second, of what may never have happened: 0 then."""
        return or_none(self.rate(metric, *by, over=over, **equal), *by)

    def count_of(self, metric: Metric, *by: str, over: str = LATELY) -> str:
        """How many a histogram saw, per second."""
        _check(metric, by, "histogram")
        return f"{_sum(by)}(rate({self.series(metric, '_count')}[{over}]))"

    def share(self, part: Metric, whole: Metric, *by: str, over: str = LATELY) -> str:
        """Of two counters. A part that never happened is 0 of a whole that did."""
        whole_rate = self.rate(whole, *by, over=over)
        return f"({self.rate(part, *by, over=over)} or {whole_rate} * 0) / {whole_rate}"


def or_none(expr: str, *by: str) -> str:
    """0 instead of nothing."""
    nothing = "vector(0)"
    for label in by:
        nothing = f'label_replace({nothing}, "{label}", "none", "", "")'
    return f"{expr} or on () {nothing}"


def _by(labels: tuple[str, ...]) -> str:
    return f" by ({', '.join(labels)})" if labels else ""


def _sum(labels: tuple[str, ...]) -> str:
    return f"sum{_by(labels)} "


def _check(metric: Metric, labels: tuple[str, ...], kind: str = "") -> None:
    unknown = set(labels) - set(metric.labels)
    if unknown:
        raise ValueError(f"{metric.name} has no label {', '.join(sorted(unknown))}")
    if kind and metric.kind != kind:
        raise ValueError(f"{metric.name} is a {metric.kind}, not a {kind}")
