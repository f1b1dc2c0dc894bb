"""What an autoscaler can see of a model at one moment of simulated time."""

from collections.abc import Sequence
from dataclasses import dataclass

from cluster.simulator.request import SimulatedRequest
from cluster.simulator.trace_request import TraceRequest
from deployments.gateway.routing.score import Slo


@dataclass(frozen=True, slots=True)
class ReplicaLoad:
    """One that serves. `cache_used`: the part of its KV cache that requests hold."""

    running_requests: int
    waiting_requests: int
    cache_used: float

    @property
    def requests(self) -> int:
        return self.running_requests + self.waiting_requests


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`finished` and `began` are of the time since the last snapshot; `target` is what was asked for last."""

    now_s: float
    since_s: float
    loads: tuple[ReplicaLoad, ...]
    starting: int
    leaving: int
    target: int
    unplaced_requests: int
    began: Sequence[TraceRequest]
    finished: Sequence[SimulatedRequest]

    @property
    def running(self) -> int:
        return len(self.loads)

    @property
    def waiting_requests(self) -> int:
        return self.unplaced_requests + sum(load.waiting_requests for load in self.loads)

    @property
    def requests(self) -> int:
        return self.unplaced_requests + sum(load.requests for load in self.loads)


def ttft_ms(request: SimulatedRequest) -> float:
    return request.first_token_ms - request.arrived_ms


def tpot_ms(request: SimulatedRequest) -> float:
    """Of an answer of one token: 0."""
    return (request.finished_ms - request.first_token_ms) / max(1, request.output_tokens - 1)


def met(request: SimulatedRequest, slo: Slo) -> bool:
    return ttft_ms(request) <= slo.ttft_ms and tpot_ms(request) <= slo.tpot_ms
