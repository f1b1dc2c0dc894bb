"""What a process counts with: prometheus-client's own, made from the registry's words."""

from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from monitoring.metrics import Metric

EXACT = 2.0**24


class BinnedHistogram(Histogram):
    """One that is told many observations at once, already sorted into its buckets."""

    def add(self, counts: Sequence[int], total: float) -> None:
        """`counts`: one for each bucket, the last for what is above all bounds."""
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(total)


class Milliseconds:
    """A histogram of seconds, or one of its children, that is told many times at once in milliseconds."""

    def __init__(self, told: BinnedHistogram, metric: Metric) -> None:
        self._told = told
        self._bounds_ms = [1000 * bound for bound in metric.buckets]

    def add(self, times_ms: Sequence[float]) -> None:
        if times_ms:
            counts, bounds_ms = [0] * (len(self._bounds_ms) + 1), self._bounds_ms
            for ms in times_ms:
                counts[bisect_left(bounds_ms, ms)] += 1
            self._told.add(counts, exact(sum(times_ms) / 1000))

    def add_packed(self, times_ms: "Sequence[array[float]]") -> None:
        """Of many requests, as `array("f")`: a hundredth of a microsecond each."""
        packed = np.frombuffer(b"".join(times_ms), dtype=np.float32)
        if packed.size:
            slots = np.searchsorted(self._bounds_ms, packed)
            counts = np.bincount(slots, minlength=len(self._bounds_ms) + 1)
            self._told.add(counts.tolist(), exact(float(packed.sum(dtype=np.float64)) / 1000))


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
