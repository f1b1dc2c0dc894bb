"""What is counted comes out of the page as it went in."""

import random

from prometheus_client import CollectorRegistry

from monitoring import instruments
from monitoring.metrics import BARYON, ITL


def test_every_metric_of_the_registry_is_made_under_its_own_name() -> None:
    made = {"counter": instruments.counter, "gauge": instruments.gauge, "histogram": instruments.histogram}
    registry = CollectorRegistry()
    for metric in BARYON:
        made[metric.kind](metric, registry)
    names = {family.name for family in registry.collect()}
    assert names == {metric.name.removesuffix("_total") for metric in BARYON}


def test_bins_are_as_many_observations() -> None:
    registry, labels = CollectorRegistry(), {"model": "a", "priority": "0"}
    counts = [0, 2, *[0] * (len(ITL.buckets) - 3), 1, 1]
    instruments.histogram(ITL, registry).labels(**labels).add(counts, 120.5)

    def told(suffix: str, **also: str) -> float | None:
        return registry.get_sample_value(ITL.name + suffix, labels | also)

    assert [told("_bucket", le=bound) for bound in ("0.001", "0.0025", "30.0", "60.0", "+Inf")] == [0, 2, 2, 3, 4]
    assert (told("_count"), told("_sum")) == (4, 120.5)


def test_sums_do_not_depend_on_who_is_added_first() -> None:
    rng = random.Random(7)
    seconds = [instruments.exact(rng.expovariate(3)) for _ in range(10_000)]
    assert len({sum(rng.sample(seconds, len(seconds))) for _ in range(20)}) == 1
