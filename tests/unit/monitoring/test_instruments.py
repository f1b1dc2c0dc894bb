"""What is counted comes out of the page as it went in."""

import random
from array import array
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as open_metrics

from monitoring import instruments
from monitoring.metrics import BARYON, ITL
from monitoring.native_buckets import BOUNDS_S, cell_bounds_s


def test_every_metric_of_the_registry_is_made_under_its_own_name() -> None:
    made = {"counter": instruments.counter, "gauge": instruments.gauge, "histogram": instruments.histogram}
    registry = CollectorRegistry()
    for metric in BARYON:
        made[metric.kind](metric, registry)
    names = {family.name for family in registry.collect()}
    assert names == {metric.name.removesuffix("_total") for metric in BARYON}


def test_bins_are_as_many_observations() -> None:
    registry, labels = CollectorRegistry(), {"model": "a", "priority": "0"}
    bounds_s = cell_bounds_s(ITL.buckets)
    cells = [bisect_left(bounds_s, seconds) for seconds in (0.0024, 50.0, 99.0)]
    counts = zip(cells, (2, 1, 1), strict=True)
    instruments.histogram(ITL, registry).labels(**labels).add(counts, 120.5)

    def told(suffix: str, **also: str) -> float | None:
        return registry.get_sample_value(ITL.name + suffix, labels | also)

    assert [told("_bucket", le=bound) for bound in ("0.001", "0.0025", "30.0", "60.0", "+Inf")] == [0, 2, 2, 3, 4]
    assert (told("_count"), told("_sum")) == (4, 120.5)


TIMES_S = st.lists(st.floats(0, 4_000) | st.sampled_from([*ITL.buckets, *BOUNDS_S]), min_size=1, max_size=60)


@given(TIMES_S)
def test_what_is_told_in_text_is_what_prometheus_clients_own_histogram_tells(times_s: list[float]) -> None:
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    plain = Histogram(ITL.name, ITL.help, ITL.labels, registry=theirs, buckets=ITL.buckets).labels("a", "0")
    binned = instruments.histogram(ITL, ours).labels("a", "0")
    for seconds in times_s:
        plain.observe(seconds)
        binned.observe(seconds)
    plain._created = binned._created = 0.0
    assert generate_latest(ours) == generate_latest(theirs)
    assert open_metrics(ours) == open_metrics(theirs)


@given(st.lists(st.floats(0, 2_000_000, width=32), min_size=1, max_size=60))
def test_times_told_at_once_fall_where_they_fall_one_by_one(times_ms: list[float]) -> None:
    pages = []
    for tell in ("one by one", "at once", "packed"):
        registry = CollectorRegistry()
        binned = instruments.histogram(ITL, registry).labels("a", "0")
        milliseconds = instruments.Milliseconds(binned, ITL)
        if tell == "one by one":
            for ms in times_ms:
                milliseconds.add([ms])
        elif tell == "at once":
            milliseconds.add(times_ms)
        else:
            milliseconds.add_packed([array("f", times_ms[:5]), array("f", times_ms[5:])])
        pages.append([cell.get() if cell else 0 for cell in binned._cells])
    assert pages[0] == pages[1] == pages[2]
    assert sum(pages[0]) == len(times_ms)


def test_a_series_that_nothing_was_told_keeps_no_more_than_its_classic_buckets() -> None:
    binned = instruments.histogram(ITL, CollectorRegistry()).labels("a", "0")
    assert sum(cell is not None for cell in binned._cells) == len(ITL.buckets) + 1
    binned.observe(0.004)
    assert sum(cell is not None for cell in binned._cells) == len(ITL.buckets) + 2


def test_sums_do_not_depend_on_who_is_added_first() -> None:
    rng = random.Random(7)
    seconds = [instruments.exact(rng.expovariate(3)) for _ in range(10_000)]
    assert len({sum(rng.sample(seconds, len(seconds))) for _ in range(20)}) == 1


def test_where_there_is_no_room_for_a_cell_the_classic_bucket_around_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instruments, "MOST_FINE_CELLS", 1)
    registry, labels = CollectorRegistry(), {"model": "a", "priority": "0"}
    binned = instruments.histogram(ITL, registry)
    for seconds in (0.004, 0.0041, 0.3, 0.0041, 4_000.0):
        binned.labels(**labels).observe(seconds)
    binned.labels("another", "0").observe(0.004)
    for child in (binned.labels(**labels), binned.labels("another", "0")):
        assert sum(cell is not None for cell in child._cells) <= len(ITL.buckets) + 2
    told = [registry.get_sample_value(f"{ITL.name}_bucket", labels | {"le": le}) for le in ("0.005", "0.5", "+Inf")]
    assert told == [3, 4, 5]
    another = {"model": "another", "priority": "0"}
    assert registry.get_sample_value(f"{ITL.name}_bucket", another | {"le": "0.005"}) == 1
