"""One run: requests arrive at gateways, a policy places each, replicas work, and all are told what happened when."""

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol, runtime_checkable

from cluster.simulator.replica import Replica
from cluster.simulator.request import SimulatedRequest
from cluster.simulator.trace_request import TraceRequest
from deployments.gateway.routing.score import Slo
from engine.simulated.profiles import Profile
from engine.simulated.step_time import StepTime

DEFAULT_SLO = Slo(ttft_ms=2_000, tpot_ms=100)
A_GATEWAYS_LOOK = -1


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

    def choose(self, request: SimulatedRequest, candidates: Sequence[int], now_ms: float) -> int | None:
        """Place the request on one of the candidates. None: it waits at the gateway, which is a `Holding` then."""
        ...

    def first_token(self, request: SimulatedRequest, now_ms: float) -> None: ...

    def finished(self, request: SimulatedRequest, now_ms: float) -> None:
        """It has its last token, or is lost with its replica."""
        ...

    def replica_lost(self, replica: int) -> None:
        """Another one takes its place, with an empty cache."""
        ...


@runtime_checkable
class Holding(Policy, Protocol):
    """A policy under which requests wait at the gateway."""

    def next_of_line(self, candidates: Sequence[int], now_ms: float) -> SimulatedRequest | None:
        """One that goes to a replica now, its `replica` set; None: nobody does."""
        ...

    def look_again_ms(self, now_ms: float) -> float:
        """When the next may go though nothing has happened; infinite if nobody waits."""
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
    cluster = SimulatedCluster(fleet, factory, seed)
    changes = sorted(
        [(outage.from_ms, outage.replica, False) for outage in fleet.outages]
        + [(outage.until_ms, outage.replica, True) for outage in fleet.outages]
    )
    for asked in requests:
        while changes and changes[0][0] <= asked.arrived_ms:
            yield from _change(cluster, *changes.pop(0))
        yield from cluster.until(asked.arrived_ms)
        yield from cluster.arrive(asked)
    for change in changes:
        yield from _change(cluster, *change)
    yield from cluster.until(math.inf)


def _change(cluster: "SimulatedCluster", at_ms: float, replica: int, is_back: bool) -> Iterator[SimulatedRequest]:
    yield from cluster.until(at_ms)
    if is_back:
        cluster.enlist(replica, at_ms)
    else:
        yield from cluster.lose(replica, at_ms)


class SimulatedCluster:
    """Gateways and replicas. What it yields are requests that have come to their end."""

    def __init__(self, fleet: Fleet, factory: PolicyFactory, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311
        self._fleet = fleet
        self.replicas = fleet.build()
        self.gateways = [factory(self.replicas, Random(f"{seed} {i}"), fleet.slo) for i in range(fleet.gateways)]  # noqa: S311
        self._holding = [gateway for gateway in self.gateways if isinstance(gateway, Holding)]
        self._look_ms = math.inf
        self.candidates = list(range(fleet.replicas))
        self.unplaced: deque[SimulatedRequest] = deque()
        self._gateway_of: dict[int, Policy] = {}
        self._due: list[tuple[float, int]] = []
        self._arrived = 0

    def arrive(self, asked: TraceRequest) -> Iterator[SimulatedRequest]:
        """Place it; where there is no replica at all it waits for one."""
        request = SimulatedRequest(
            self._arrived, asked.input_tokens, asked.output_tokens, asked.blocks, asked.arrived_ms, asked.tenant
        )
        self._arrived += 1
        if self.replicas and not self.replicas[0].can_hold(request):
            yield request
            return
        self._gateway_of[request.index] = self._random.choice(self.gateways)
        self._place(request, asked.arrived_ms)

    def until(self, end_ms: float) -> Iterator[SimulatedRequest]:
        """Everything that happens up to then."""
        while self._due and self._due[0][0] <= end_ms:
            next_ms, index = heapq.heappop(self._due)
            if index == A_GATEWAYS_LOOK:
                self._let_in(next_ms)
                continue
            replica = self.replicas[index]
            if replica.next_event_ms != next_ms:
                continue
            first, finished = replica.advance()
            self._schedule(index)
            for request in first:
                self._gateway_of[request.index].first_token(request, next_ms)
            for request in finished:
                self._gateway_of.pop(request.index).finished(request, next_ms)
                yield request
            if first or finished:
                self._let_in(next_ms)

    def build(self) -> int:
        """One more replica, which gets nothing yet."""
        self.replicas.append(self._fleet.build_one(len(self.replicas)))
        return len(self.replicas) - 1

    def enlist(self, replica: int, now_ms: float) -> None:
        """From now on it gets requests, first those that wait for one."""
        self.candidates = sorted({*self.candidates, replica})
        for _ in range(len(self.unplaced)):
            self._place(self.unplaced.popleft(), now_ms)

    def retire(self, replica: int) -> None:
        """It gets no more requests, and finishes what it has."""
        self.candidates = [other for other in self.candidates if other != replica]

    def lose(self, replica: int, now_ms: float) -> Iterator[SimulatedRequest]:
        """As the gateway does: what has no first token yet is asked of another replica, the rest is lost."""
        lost = self.replicas[replica].requests()
        self.replicas[replica] = self._fleet.build_one(replica)
        for gateway in self.gateways:
            gateway.replica_lost(replica)
        self.retire(replica)
        for request in lost:
            self._gateway_of[request.index].finished(request, now_ms)
            if request.generated or request.finish_step >= 0:
                del self._gateway_of[request.index]
                yield request
            else:
                again = SimulatedRequest(
                    request.index,
                    request.prompt_tokens,
                    request.output_tokens,
                    request.hashes,
                    request.arrived_ms,
                    request.tenant,
                )
                self._place(again, now_ms)

    def _place(self, request: SimulatedRequest, now_ms: float) -> None:
        if not self.candidates:
            self.unplaced.append(request)
            return
        chosen = self._gateway_of[request.index].choose(request, self.candidates, now_ms)
        if chosen is None:
            self._look_again(now_ms)
            return
        request.replica = chosen
        self._submit(request, now_ms)

    def _submit(self, request: SimulatedRequest, now_ms: float) -> None:
        request.dispatched_ms = now_ms
        self.replicas[request.replica].submit(request, now_ms)
        self._schedule(request.replica)

    def _let_in(self, now_ms: float) -> None:
        """Requests that wait at gateways, as far as these let them go."""
        for gateway in self._holding:
            while self.candidates and (request := gateway.next_of_line(self.candidates, now_ms)) is not None:
                self._submit(request, now_ms)
        self._look_again(now_ms)

    def _look_again(self, now_ms: float) -> None:
        at_ms = min((gateway.look_again_ms(now_ms) for gateway in self._holding), default=math.inf)
        if at_ms < self._look_ms or self._look_ms <= now_ms:
            self._look_ms = at_ms
            if at_ms < math.inf:
                heapq.heappush(self._due, (at_ms, A_GATEWAYS_LOOK))

    def _schedule(self, index: int) -> None:
        if self.replicas[index].next_event_ms < math.inf:
            heapq.heappush(self._due, (self.replicas[index].next_event_ms, index))
