"""Many runs at once, one process per CPU: what a run is, and the rows they come to."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import takewhile
from multiprocessing import get_context

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


def rows_of(runs: Sequence[Run], on_row: Callable[[Row], None] = lambda _: None) -> list[Row]:
    """One row each, in the order of the runs; `on_row` hears of each as it is there.

    Raises:
        TraceError: a trace cannot be read to its end.
        BrokenProcessPool: a process was killed.
    """
    processes = min(len(runs), len(os.sched_getaffinity(0)))
    if processes < 2:
        return [_told(row_of(run), on_row) for run in runs]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return [_told(row, on_row) for row in pool.map(row_of, runs)]


def _told(row: Row, on_row: Callable[[Row], None]) -> Row:
    on_row(row)
    return row
