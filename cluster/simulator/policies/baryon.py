"""Our own policy: the gateway's router itself, told what a gateway is told, when a gateway is told it."""

from collections.abc import Sequence
from random import Random

from cluster.simulator.replica import Replica
from cluster.simulator.request import SimulatedRequest
from deployments.gateway.routing.hold import Hold
from deployments.gateway.routing.router import Placement, Prompt, Router, Told
from deployments.gateway.routing.score import Slo
from engine.simulated.block_manager import BLOCK_TOKENS


class Baryon:
    """One gateway's router. The trace's blocks stand for the hashes of the prompt's text."""

    def __init__(self, replicas: Sequence[Replica], random: Random, slo: Slo, stall_weight_scale: float = 1.0) -> None:
        self._replicas = replicas
        self._me = f"{random.random()}"
        self.router = Router(random, slo, stall_weight_scale=stall_weight_scale)
        self._placements: dict[int, Placement] = {}
        for i in range(len(replicas)):
            self.meet(i)

    def choose(self, request: SimulatedRequest, candidates: Sequence[int], now_ms: float) -> int:
        placement = self.place(request, candidates, now_ms, None)
        assert placement is not None
        return int(placement.replica)

    def place(
        self, request: SimulatedRequest, candidates: Sequence[int], now_ms: float, hold: Hold | None
    ) -> Placement | None:
        """On a replica that is open to it; None if none is."""
        for i in candidates:
            self._hear(i, now_ms)
        placement = self.router.place_if_open(self._prompt(request), [str(i) for i in candidates], now_ms, hold)
        if placement is not None:
            self._placements[request.index] = placement
            feed = self._replicas[int(placement.replica)].feed
            feed.tell(self._me, "began", request, now_ms, placement.terms.hit_tokens)
        return placement

    def first_token(self, request: SimulatedRequest, now_ms: float) -> None:
        self.router.first_token(self._placements[request.index], now_ms)
        self._replicas[request.replica].feed.tell(self._me, "first token", request, now_ms)

    def finished(self, request: SimulatedRequest, now_ms: float) -> None:
        placement = self._placements.pop(request.index)
        done = request.generated >= request.output_tokens
        told = Told(request.generated, request.prompt_tokens, request.cached_tokens) if done else Told()
        self.router.finish(placement, now_ms, told)
        self._replicas[request.replica].feed.tell(self._me, "ended", request, now_ms)

    def replica_lost(self, replica: int) -> None:
        """Another one takes its place, with an empty cache."""
        self.router.forget(str(replica))
        self.meet(replica)

    def meet(self, replica: int) -> None:
        """It is there, with an empty cache."""
        self._replicas[replica].feed.listen(self._me)
        self.router.set_cache_tokens(str(replica), self._replicas[replica].blocks.capacity_blocks * BLOCK_TOKENS)

    def _prompt(self, request: SimulatedRequest) -> Prompt:
        block_tokens = self._replicas[0].hash_tokens
        ends = [float(block_tokens * (i + 1)) for i in range(len(request.hashes))]
        return Prompt(request.prompt_tokens, request.hashes, ends)

    def _hear(self, i: int, now_ms: float) -> None:
        replica, router = str(i), self.router
        for told_ms, what, request, hit_tokens in self._replicas[i].feed.heard_by(self._me, now_ms):
            key = str(request.index)
            if what == "began":
                router.other_began(replica, key, self._prompt(request), hit_tokens, told_ms)
            elif what == "first token":
                router.other_got_first_token(replica, key, told_ms)
            else:
                router.other_ended(replica, key, told_ms)
        router.heard(replica, now_ms)
