"""Demand that state has not been told yet, because it is away: nothing is counted twice, nothing lost."""

from collections.abc import Mapping
from dataclasses import replace

from cluster.autoscaler.demand import Demand

MOST_SAMPLED = 256


def carried_on(untold: Mapping[str, Demand], now: Mapping[str, Demand]) -> dict[str, Demand]:
    """One report for both times; what was of models that are no more is dropped."""
    return {name: _later(untold[name], demand) if name in untold else demand for name, demand in now.items()}


def _later(before: Demand, now: Demand) -> Demand:
    """Sums of both; what is of a moment is of now. Whoever was turned away meanwhile still wants a replica."""
    return replace(
        now,
        arrived_requests=before.arrived_requests + now.arrived_requests,
        finished_requests=before.finished_requests + now.finished_requests,
        met_requests=before.met_requests + now.met_requests,
        waiting_requests=max(now.waiting_requests, min(1, before.waiting_requests)),
        sampled=(*before.sampled, *now.sampled)[-MOST_SAMPLED:],
    )
