"""What an autoscaling run is asked: a protocol's own arrivals, or a trace's within the protocol's counts and SLO."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol as Interface

from cluster.simulator.scaling.protocol import BLOCK_TOKENS, Protocol
from cluster.simulator.trace import Trace
from cluster.simulator.trace_request import TraceRequest

BIN_S = 60.0
LOGGED_S = 10.0


class Requests(Interface):
    """What a trace is to a run."""

    @property
    def block_tokens(self) -> int: ...

    def requests(self, seed: int, speedup: float) -> Iterator[TraceRequest]: ...


@dataclass(frozen=True, slots=True)
class Workload:
    """`protocol.segments` tell the rate over time to those who may know the future, also of a trace. `past`: what a
    usage log has of the time before: from, to (seconds below zero), requests per second.
    """

    protocol: Protocol
    trace: Requests | None = None
    speedup: float = 1.0
    past: Sequence[tuple[float, float, float]] = ()

    def requests(self, seed: int) -> Iterator[TraceRequest]:
        """Raises:
        TraceError: the trace cannot be read to its end.
        """
        if self.trace is None:
            return self.protocol.requests(seed)
        return self.trace.requests(seed, self.speedup)

    @property
    def block_tokens(self) -> int:
        return self.trace.block_tokens if self.trace else BLOCK_TOKENS


def of_trace(protocol: Protocol, trace: Trace, speedup: float) -> Workload:
    """Reads the trace once, to know its rate in every minute.

    Raises:
        TraceError: the trace cannot be read to its end, or is empty.
    """
    arrived = Counter(int(request.arrived_ms / 1000 // BIN_S) for request in trace.requests(0, speedup))
    rates = [arrived[number] / BIN_S for number in range(max(arrived, default=-1) + 1)]
    segments = [(BIN_S, rate, rate) for rate in rates] or [(BIN_S, 0.0, 0.0)]
    return Workload(protocol.model_copy(update={"segments": segments}), trace, speedup)


def past_of(trace: Trace, speedup: float, lasted_s: float) -> list[tuple[float, float, float]]:
    """A trace of `lasted_s` seconds that ends where a run begins, as a usage log written meanwhile has it.

    Raises:
        TraceError: the trace cannot be read to its end.
    """
    arrived = Counter(int(request.arrived_ms / 1000 // LOGGED_S) for request in trace.requests(0, speedup))
    count = int(lasted_s / speedup // LOGGED_S)
    begin_s = -count * LOGGED_S
    return [
        (begin_s + number * LOGGED_S, begin_s + (number + 1) * LOGGED_S, arrived[number] / LOGGED_S)
        for number in range(count)
    ]
