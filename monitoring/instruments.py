"""What a process counts with: prometheus-client's own, made from the registry's words."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from monitoring.metrics import Metric
from monitoring.native_buckets import cell_bounds_s

EXACT = 2.0**24
MOST_FINE_CELLS = 8_000


@dataclass(slots=True)
class Room:
    """For how many cells more."""

    cells: int


class BinnedHistogram(Histogram):
    """One that is told many observations at once, already sorted into cells (`cell_bounds_s`), and keeps those apart,
    as if they were classic buckets. The classic bounds' cells are there from the beginning, the others from their first
    count on, while there is room for them; after that the classic bucket around them counts for them.
    """

    def __init__(self, *of: Any, room: Room, **how: Any) -> None:
        """`room`: for cells of all its series together that no classic bound has."""
        self._room = room
        super().__init__(*of, **how)
        self._kwargs["room"] = room

    def add(self, counts: Iterable[tuple[int, int]], total: float) -> None:
        """`counts`: of each cell that has any, its number and how many."""
        for number, count in counts:
            (self._cells[number] or self._new_cell(number)).inc(count)
        self._sum.inc(total)

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        self.add([(bisect_left(self._bounds_s, amount), 1)], amount)

    def _metric_init(self) -> None:
        super()._metric_init()
        self._bounds_s = cell_bounds_s(tuple(self._upper_bounds))
        classic = dict(zip(self._upper_bounds, self._buckets, strict=True))
        self._cells = [classic.get(bound) for bound in self._bounds_s]

    def _new_cell(self, number: int) -> values.MutexValue:
        if not self._room.cells:
            around: values.MutexValue = self._buckets[bisect_left(self._upper_bounds, self._bounds_s[number])]
            return around
        self._room.cells -= 1
        labels, told = (*self._labelnames, "le"), (*self._labelvalues, floatToGoString(self._bounds_s[number]))
        name, make = f"{self._name}_bucket", values.ValueClass
        cell: values.MutexValue = make(self._type, self._name, name, labels, told, self._documentation)
        self._cells[number] = cell
        return cell

    def _child_samples(self) -> Iterable[Sample]:
        """The classic ones."""
        total, below = 0.0, {}
        for bound, cell in zip(self._bounds_s, self._cells, strict=True):
            total += cell.get() if cell else 0
            below[floatToGoString(bound)] = total
        for sample in super()._child_samples():
            if sample.name in ("_bucket", "_count"):
                yield sample._replace(value=below[sample.labels["le"]] if sample.labels else total)
            else:
                yield sample


class Milliseconds:
    """A histogram of seconds, or one of its children, that is told many times at once in milliseconds."""

    def __init__(self, told: BinnedHistogram, metric: Metric) -> None:
        self._told = told
        self._bounds_ms = [1000 * bound for bound in cell_bounds_s(metric.buckets)]
        self._packed_bounds_ms = np.array(self._bounds_ms)

    def add(self, times_ms: Sequence[float]) -> None:
        if times_ms:
            counts: dict[int, int] = {}
            bounds_ms = self._bounds_ms
            for ms in times_ms:
                number = bisect_left(bounds_ms, ms)
                counts[number] = counts.get(number, 0) + 1
            self._told.add(counts.items(), exact(sum(times_ms) / 1000))

    def add_packed(self, times_ms: "Sequence[array[float]]") -> None:
        """Of many requests, as `array("f")`: a hundredth of a microsecond each."""
        packed = np.frombuffer(b"".join(times_ms), dtype=np.float32)
        if packed.size:
            counts = np.bincount(np.searchsorted(self._packed_bounds_ms, packed))
            numbers = np.flatnonzero(counts)
            total = exact(float(packed.sum(dtype=np.float64)) / 1000)
            self._told.add(zip(numbers.tolist(), counts[numbers].tolist(), strict=True), total)


def counter(metric: Metric, registry: CollectorRegistry | None) -> Counter:
    return Counter(metric.name, metric.help, metric.labels, registry=registry)


def gauge(metric: Metric, registry: CollectorRegistry | None) -> Gauge:
    return Gauge(metric.name, metric.help, metric.labels, registry=registry, multiprocess_mode=metric.merge)


def histogram(metric: Metric, registry: CollectorRegistry | None) -> BinnedHistogram:
    room = Room(MOST_FINE_CELLS)
    return BinnedHistogram(
        metric.name, metric.help, metric.labels, registry=registry, buckets=metric.buckets, room=room
    )


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
