"""The page as protobuf messages, each after its length: the one form of Prometheus's that has room for native buckets.

Loaded with the first client that asks for it.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from google.protobuf.proto import serialize_length_prefixed
from prometheus_client import Metric as Sampled
from prometheus_client.samples import NativeHistogram

from monitoring.metric_messages import LabelPair, Metric, MetricFamily
from monitoring.readings import Labels, Reading, of_lines, of_samples, unescaped

MOST = 2**63


@dataclass(slots=True)
class Distribution:
    """`parts`: cumulative counts by upper bound of a histogram, values by quantile of a summary."""

    count: float = 0.0
    sum: float = 0.0
    parts: list[tuple[float, float]] = field(default_factory=list)
    native: NativeHistogram | None = None


class ProtobufPage:
    """Families in the order in which they come; one without series is left out, one of a kind without a message of its
    own is untyped.
    """

    def __init__(self) -> None:
        self._out = BytesIO()
        self._labels: dict[Labels, list[Any]] = {}

    def add_family(self, family: Sampled) -> None:
        self._add(family.name, family.type, family.documentation, of_samples(family.type, family.samples))

    def add_lines(self, name: str, kind: str, help_text: str, lines: Iterable[str]) -> None:
        """Of the text format; `help_text` as it is there. `name`: a counter's without `_total`."""
        self._add(name, kind, unescaped(help_text), of_lines(kind, lines))

    def encoded(self) -> bytes:
        return self._out.getvalue()

    def _add(self, name: str, kind: str, help_text: str, readings: Iterable[Reading]) -> None:
        shown = f"{name}_total" if kind == "counter" else name
        told_as = kind if kind in MESSAGES else "untyped"
        family = MetricFamily(name=shown, help=help_text, type=told_as.upper())
        family.metric.extend(MESSAGES[told_as](shown, readings, self._pairs))
        if family.metric:
            serialize_length_prefixed(family, self._out)

    def _pairs(self, labels: Labels) -> list[Any]:
        pairs = self._labels.get(labels)
        if pairs is None:
            pairs = self._labels[labels] = [LabelPair(name=name, value=value) for name, value in labels]
        return pairs


Pairs = Callable[[Labels], list[Any]]


def _plain(kind: str) -> Callable[[str, Iterable[Reading], Pairs], list[Any]]:
    def messages(name: str, readings: Iterable[Reading], pairs: Pairs) -> list[Any]:
        return [Metric(label=pairs(r.labels), **{kind: {"value": r.value}}) for r in readings if r.name == name]

    return messages


def _summaries(name: str, readings: Iterable[Reading], pairs: Pairs) -> list[Any]:
    return [
        Metric(
            label=pairs(labels),
            summary={
                "sample_count": int(told.count),
                "sample_sum": told.sum,
                "quantile": [{"quantile": quantile, "value": value} for quantile, value in told.parts],
            },
        )
        for labels, told in _distributions(name, readings, name).items()
    ]


def _histograms(name: str, readings: Iterable[Reading], pairs: Pairs) -> list[Any]:
    return [
        Metric(label=pairs(labels), histogram=_histogram(told))
        for labels, told in _distributions(name, readings, f"{name}_bucket").items()
    ]


def _histogram(told: Distribution) -> dict[str, Any]:
    buckets = [
        {"cumulative_count": int(count), "upper_bound": bound} for bound, count in told.parts if 0 <= count < MOST
    ]
    message: dict[str, Any] = {"sample_count": int(told.count), "sample_sum": told.sum, "bucket": buckets}
    native = told.native
    if native is not None:
        message |= {
            "schema": native.schema,
            "zero_threshold": native.zero_threshold,
            "zero_count": int(native.zero_count),
            "positive_span": [{"offset": span.offset, "length": span.length} for span in native.pos_spans or ()],
            "positive_delta": native.pos_deltas or (),
        }
    return message


def _distributions(name: str, readings: Iterable[Reading], part: str) -> dict[Labels, Distribution]:
    """`part`: how those values are called that have a bound."""
    told: dict[Labels, Distribution] = {}
    for reading in readings:
        distribution = told.get(reading.labels)
        if distribution is None:
            distribution = told[reading.labels] = Distribution()
        if reading.native is not None:
            distribution.native = reading.native
        elif reading.bound is not None and reading.name == part and not math.isnan(reading.bound):
            distribution.parts.append((reading.bound, reading.value))
        elif reading.name == f"{name}_count" and 0 <= reading.value < MOST:
            distribution.count = reading.value
        elif reading.name == f"{name}_sum":
            distribution.sum = reading.value
    return told


MESSAGES = {
    "counter": _plain("counter"),
    "gauge": _plain("gauge"),
    "untyped": _plain("untyped"),
    "summary": _summaries,
    "histogram": _histograms,
}
