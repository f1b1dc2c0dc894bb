"""One run: requests arrive at gateways, a policy places each, replicas work, and all are told what happened when."""

import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

from cluster.simulator.replica import Replica
from cluster.simulator.request import SimulatedRequest
from cluster.simulator.trace_request import TraceRequest
from deployments.gateway.routing.score import Slo
from engine.simulated.profiles import Profile
from engine.simulated.step_time import StepTime

DEFAULT_SLO = Slo(ttft_ms=2_000, tpot_ms=100)


@dataclass(frozen=True, slots=True)
class Outage:
    """The replica is lost at `from_ms`, with its cache and its requests, and is back at `until_ms`."""

    replica: int
    from_ms: float
    until_ms: float


@dataclass(frozen=True, slots=True)
class Fleet:
    """`slowness` stretches each replica's step time, cyclically: (1, 2) makes every second one two times slower."""

    profile: Profile
    replicas: int
    gateways: int = 1
    hash_tokens: int = 512
    slowness: tuple[float, ...] = (1.0,)
    outages: tuple[Outage, ...] = ()
    slo: Slo = DEFAULT_SLO

    def build(self) -> list[Replica]:
        return [self.build_one(i) for i in range(self.replicas)]

    def build_one(self, index: int) -> Replica:
        step_time = slowed(self.profile.step_time, self.slowness[index % len(self.slowness)])
        return Replica(step_time, self.profile.kv_capacity_tokens, self.hash_tokens)


class Policy(Protocol):
    """One gateway's choice of replicas. It is told of its own requests alone."""

    def choose(self, request: SimulatedRequest, candidates: Sequence[int], now_ms: float) -> int:
        """Place the request on one of the candidates."""
        ...

    def first_token(self, request: SimulatedRequest, now_ms: float) -> None: ...

    def finished(self, request: SimulatedRequest, now_ms: float) -> None:
        """It has its last token, or is lost with its replica."""
        ...

    def replica_lost(self, replica: int) -> None:
        """Another one takes its place, with an empty cache."""
        ...


PolicyFactory = Callable[[Sequence[Replica], Random, Slo], Policy]


def slowed(step_time: StepTime, factor: float) -> StepTime:
    return replace(
        step_time,
        c0_ms=step_time.c0_ms * factor,
        c_low_ms=step_time.c_low_ms * factor,
        c_tok_ms=step_time.c_tok_ms * factor,
        c_attn_ms=step_time.c_attn_ms * factor,
        c_kv_ms=step_time.c_kv_ms * factor,
    )


def simulate(
    requests: Iterable[TraceRequest], fleet: Fleet, factory: PolicyFactory, seed: int
) -> Iterator[SimulatedRequest]:
    """Every request once: finished, or with `finished_ms` NaN if it was lost in mid-answer or fits no replica."""
    return _Run(fleet, factory, seed).over(requests)


class _Run:
    def __init__(self, fleet: Fleet, factory: PolicyFactory, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311
        self._fleet = fleet
        self._replicas = fleet.build()
        self._gateways = [factory(self._replicas, Random(f"{seed} {i}"), fleet.slo) for i in range(fleet.gateways)]  # noqa: S311
        self._gateway_of: dict[int, Policy] = {}
        self._candidates = list(range(fleet.replicas))
        self._due: list[tuple[float, int]] = []
        self._changes = sorted(
            [(o.from_ms, o.replica, False) for o in fleet.outages]
            + [(o.until_ms, o.replica, True) for o in fleet.outages]
        )

    def over(self, requests: Iterable[TraceRequest]) -> Iterator[SimulatedRequest]:
        for index, asked in enumerate(requests):
            yield from self._until(asked.arrived_ms)
            request = SimulatedRequest(index, asked.input_tokens, asked.output_tokens, asked.blocks, asked.arrived_ms)
            if not self._replicas[0].can_hold(request):
                yield request
                continue
            self._gateway_of[index] = self._random.choice(self._gateways)
            self._place(request, asked.arrived_ms)
        yield from self._until(math.inf)

    def _until(self, end_ms: float) -> Iterator[SimulatedRequest]:
        while True:
            next_ms = self._due[0][0] if self._due else math.inf
            if self._changes and self._changes[0][0] <= min(next_ms, end_ms):
                yield from self._change(*self._changes.pop(0))
                continue
            if next_ms > end_ms or next_ms == math.inf:
                return
            _, index = heapq.heappop(self._due)
            replica = self._replicas[index]
            if replica.next_event_ms != next_ms:
                continue
            first, finished = replica.advance()
            self._schedule(index)
            for request in first:
                self._gateway_of[request.index].first_token(request, next_ms)
            for request in finished:
                self._gateway_of.pop(request.index).finished(request, next_ms)
                yield request

    def _place(self, request: SimulatedRequest, now_ms: float) -> None:
        request.replica = self._gateway_of[request.index].choose(request, self._candidates, now_ms)
        self._replicas[request.replica].submit(request, now_ms)
        self._schedule(request.replica)

    def _schedule(self, index: int) -> None:
        if self._replicas[index].next_event_ms < math.inf:
            heapq.heappush(self._due, (self._replicas[index].next_event_ms, index))

    def _change(self, now_ms: float, index: int, is_back: bool) -> Iterator[SimulatedRequest]:
        """As the gateway does: what has no first token yet is asked of another replica, the rest is lost."""
        if is_back:
            self._candidates = sorted({*self._candidates, index})
            return
        lost = self._replicas[index].requests()
        self._replicas[index] = self._fleet.build_one(index)
        for gateway in self._gateways:
            gateway.replica_lost(index)
        self._candidates = [other for other in self._candidates if other != index]
        for request in lost:
            self._gateway_of[request.index].finished(request, now_ms)
            if request.generated or request.finish_step >= 0:
                del self._gateway_of[request.index]
                yield request
            else:
                again = SimulatedRequest(
                    request.index, request.prompt_tokens, request.output_tokens, request.hashes, request.arrived_ms
                )
                self._place(again, now_ms)
