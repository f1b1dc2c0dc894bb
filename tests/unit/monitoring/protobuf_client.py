"""Reads the protobuf form as a client does: messages, each after its length."""

from io import BytesIO
from typing import Any

from google.protobuf.proto import parse_length_prefixed

from monitoring.metric_messages import MetricFamily

ACCEPT = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
Series = tuple[str, frozenset[tuple[str, str]]]


def families(page: bytes) -> dict[str, Any]:
    """By name. Each once."""
    read, found = BytesIO(page), {}
    while (family := parse_length_prefixed(MetricFamily, read)) is not None:
        assert family.name not in found
        found[family.name] = family
    return found


def of_series(family: Any, **labels: str) -> Any:
    """Its one metric with these labels."""
    (found,) = [m for m in family.metric if labels.items() <= {pair.name: pair.value for pair in m.label}.items()]
    return found


def samples(page: bytes) -> dict[Series, float]:
    """As a Prometheus without native histograms makes series of it."""
    told: dict[Series, float] = {}
    for name, family in families(page).items():
        for metric in family.metric:
            labels = frozenset((pair.name, pair.value) for pair in metric.label)
            if metric.HasField("histogram"):
                histogram = metric.histogram
                told[f"{name}_count", labels] = histogram.sample_count
                told[f"{name}_sum", labels] = histogram.sample_sum
                for bucket in histogram.bucket:
                    told[f"{name}_bucket", labels | {("le", _bound(bucket.upper_bound))}] = bucket.cumulative_count
            elif metric.HasField("summary"):
                told[f"{name}_count", labels] = metric.summary.sample_count
                told[f"{name}_sum", labels] = metric.summary.sample_sum
                for part in metric.summary.quantile:
                    told[name, labels | {("quantile", _bound(part.quantile))}] = part.value
            else:
                (value,) = [field.value for _, field in metric.ListFields() if hasattr(field, "value")]
                told[name, labels] = value
    return told


def _bound(value: float) -> str:
    return "+Inf" if value == float("inf") else str(value)
