"""What a routing run is, and the row it comes to."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import takewhile

from cluster.simulator.scenarios import Scenario
from cluster.simulator.simulation import Fleet, PolicyFactory, simulate
from cluster.simulator.summary import Row, summarise
from cluster.simulator.trace import Trace
from cluster.simulator.trace_request import TraceRequest


@dataclass(frozen=True, slots=True)
class Run:
    """One policy on one seed of a workload. `duration_s` is of the workload's own clock, before `speedup`."""

    policy: str
    factory: PolicyFactory
    workload: Trace | Scenario
    fleet: Fleet
    seed: int
    speedup: float = 1.0
    duration_s: float = math.inf

    def requests(self) -> Iterator[TraceRequest]:
        end_ms = self.duration_s * 1000 / self.speedup
        return takewhile(lambda r: r.arrived_ms < end_ms, self.workload.requests(self.seed, self.speedup))


def row_of(run: Run) -> Row:
    """Raises:
    TraceError: the trace cannot be read to its end.
    """
    if isinstance(run.workload, Scenario):
        fleet = run.workload.fleet(run.fleet, run.speedup)
    else:
        fleet = replace(run.fleet, hash_tokens=run.workload.block_tokens)
    return summarise(run.policy, run.seed, simulate(run.requests(), fleet, run.factory, run.seed), fleet.slo)
