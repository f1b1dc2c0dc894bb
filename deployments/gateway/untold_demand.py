"""Demand that state has not been told yet, because it is away: nothing is counted twice, nothing lost."""

from collections.abc import Mapping

from cluster.autoscaler.demand import Demand, after


def carried_on(untold: Mapping[str, Demand], now: Mapping[str, Demand]) -> dict[str, Demand]:
    """One report for both times; what was of models that are no more is dropped."""
    return {name: after(untold.get(name), demand) for name, demand in now.items()}
