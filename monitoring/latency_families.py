"""Histograms as processes keep them, in cells, and as they are told: with their classic bounds, native buckets beside
them where those are asked for.
"""

from collections.abc import Iterable

from prometheus_client import Metric as Sampled
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from monitoring.metrics import BARYON
from monitoring.native_buckets import native_histogram

SHOWN = {
    metric.name: frozenset(floatToGoString(bound) for bound in (*metric.buckets, float("inf")))
    for metric in BARYON
    if metric.has_native_buckets
}


def classic(family: Sampled) -> Sampled:
    """Only the bounds of the registry; what is no histogram of ours as it is."""
    shown = SHOWN.get(family.name)
    if shown is None:
        return family
    told = Sampled(family.name, family.documentation, family.type)
    told.samples = [sample for sample in family.samples if "le" not in sample.labels or sample.labels["le"] in shown]
    return told


def with_native(family: Sampled) -> Sampled:
    """The same, and for each series a sample with the name of the family that has its native buckets."""
    told = classic(family)
    if told is not family:
        told.samples += _natives(family)
    return told


def _natives(family: Sampled) -> Iterable[Sample]:
    cumulative: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    sums_s: dict[tuple[tuple[str, str], ...], float] = {}
    for sample in family.samples:
        labels = dict(sample.labels)
        bound = labels.pop("le", None)
        if bound is not None:
            cumulative.setdefault(tuple(labels.items()), []).append((float(bound), sample.value))
        elif sample.name.endswith("_sum"):
            sums_s[tuple(labels.items())] = sample.value
    for series, counts in cumulative.items():
        native = native_histogram(counts, sums_s.get(series, 0.0))
        yield Sample(family.name, dict(series), native.count_value, native_histogram=native)
