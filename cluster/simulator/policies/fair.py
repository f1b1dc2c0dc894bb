"""Requests of many tenants wait at the gateway in the order of its fair queue, and go to replicas that are open."""

import math
from collections.abc import Sequence
from random import Random

from cluster.simulator.policies.baryon import Baryon
from cluster.simulator.replica import Replica
from cluster.simulator.request import SimulatedRequest
from deployments.gateway.routing.hold import Hold
from deployments.gateway.routing.score import Slo
from deployments.gateway.tenants.fair_queue import Claim, FairQueue
from deployments.gateway.tenants.virtual_counters import cost_tokens

LOOK_AGAIN_MS = 10.0


class Fair:
    """One gateway: its router and its queue, as the gateway's `Turn` uses them. Nobody is refused or gives up."""

    def __init__(self, replicas: Sequence[Replica], random: Random, slo: Slo) -> None:
        self._baryon = Baryon(replicas, random, slo)
        self._slo = slo
        self._queue: FairQueue[SimulatedRequest] = FairQueue()
        self._charged: dict[int, Claim] = {}

    def choose(self, request: SimulatedRequest, candidates: Sequence[int], now_ms: float) -> int | None:
        claim = self._claim(request, request.prompt_tokens)
        self._queue.shares.asked(claim.tenant, claim.tokens, now_ms)
        if not len(self._queue) and self._place(request, candidates, now_ms):
            return request.replica
        self._queue.join(request, claim)
        overtakes = self._queue.first() is request and len(self._queue) > 1
        return request.replica if overtakes and self.next_of_line(candidates, now_ms) else None

    def next_of_line(self, candidates: Sequence[int], now_ms: float) -> SimulatedRequest | None:
        first = self._queue.first()
        if first is None or not self._place(first, candidates, now_ms):
            return None
        self._queue.leave(first)
        return first

    def look_again_ms(self, now_ms: float) -> float:
        return now_ms + LOOK_AGAIN_MS if len(self._queue) else math.inf

    def first_token(self, request: SimulatedRequest, now_ms: float) -> None:
        self._baryon.first_token(request, now_ms)

    def finished(self, request: SimulatedRequest, now_ms: float) -> None:
        self._baryon.finished(request, now_ms)
        uncached_tokens = request.prompt_tokens - max(0, request.cached_tokens)
        self._queue.correct(self._charged.pop(request.index), cost_tokens(uncached_tokens, request.generated))

    def replica_lost(self, replica: int) -> None:
        self._baryon.replica_lost(replica)

    def _place(self, request: SimulatedRequest, candidates: Sequence[int], now_ms: float) -> bool:
        standing = self._queue.shares.standing(request.tenant)
        hold = Hold.of(self._slo, standing, self._baryon.router.typical_prefill_ms, len(candidates))
        placement = self._baryon.place(request, candidates, now_ms, hold)
        if placement is None:
            return False
        request.replica = int(placement.replica)
        claim = self._charged[request.index] = self._claim(request, request.prompt_tokens - placement.terms.hit_tokens)
        self._queue.charge(claim)
        return True

    def _claim(self, request: SimulatedRequest, uncached_tokens: float) -> Claim:
        return Claim(request.tenant, 0, cost_tokens(uncached_tokens, self._baryon.router.estimator.output_tokens))
