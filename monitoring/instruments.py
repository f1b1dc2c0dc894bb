"""What a process counts with: prometheus-client's own, made from the registry's words."""

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from monitoring.metrics import Metric

EXACT = 2.0**24


class BinnedHistogram(Histogram):
    """One that can be told many observations at once, which were sorted into its buckets as they came."""

    def add(self, counts: Sequence[int], total: float) -> None:
        """`counts`: one for each bucket, the last for what is above all bounds."""
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(total)


def counter(metric: Metric, registry: CollectorRegistry | None) -> Counter:
    return Counter(metric.name, metric.help, metric.labels, registry=registry)


def gauge(metric: Metric, registry: CollectorRegistry | None) -> Gauge:
    return Gauge(metric.name, metric.help, metric.labels, registry=registry, multiprocess_mode=metric.merge)


def histogram(metric: Metric, registry: CollectorRegistry | None) -> BinnedHistogram:
    return BinnedHistogram(metric.name, metric.help, metric.labels, registry=registry, buckets=metric.buckets)


def exact(amount: float) -> float:
    """To the nearest 60 ns (or part of a token): such sums are exact in whatever order processes are added up, so that
    none is ever a last digit less than before, which Prometheus would take for a counter that began anew.
    """
    return round(amount * EXACT) / EXACT


class GaugeRows:
    """A gauge whose labels come and go. One that has gone is 0: in the files of a process nothing is taken back."""

    def __init__(self, metric: Metric, registry: CollectorRegistry | None) -> None:
        self._gauge = gauge(metric, registry)
        self._shown: frozenset[tuple[str, ...]] = frozenset()

    def show(self, rows: Mapping[tuple[str, ...], float]) -> None:
        """By the values of the labels."""
        for gone in self._shown - rows.keys():
            self._gauge.labels(*gone).set(0)
        for labels, value in rows.items():
            self._gauge.labels(*labels).set(value)
        self._shown |= rows.keys()
