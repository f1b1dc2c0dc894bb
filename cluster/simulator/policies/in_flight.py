"""What a gateway knows of its own requests on each replica: the base of every peer's policy."""

from collections.abc import Sequence
from random import Random

from cluster.simulator.replica import Replica
from cluster.simulator.request import SimulatedRequest
from deployments.gateway.routing.score import Slo


class InFlight:
    """Counts per replica. `prefill_tokens` are uncached prompt tokens of requests without a first token yet."""

    def __init__(self, replicas: Sequence[Replica], random: Random, _slo: Slo) -> None:
        self.replicas = replicas
        self.random = random
        self.requests = [0] * len(replicas)
        self.prefill_tokens = [0] * len(replicas)
        self.prompt_tokens = [0] * len(replicas)
        self._uncached: dict[int, int] = {}

    def uncached_tokens(self, request: SimulatedRequest, replica: int) -> int:
        """Exact, from the replica's own cache: what a feed of KV events tells at best."""
        return max(1, request.prompt_tokens - self.replicas[replica].cached_prefix_tokens(request))

    def place(self, request: SimulatedRequest, replica: int) -> int:
        uncached = self.uncached_tokens(request, replica)
        self._uncached[request.index] = uncached
        self.requests[replica] += 1
        self.prefill_tokens[replica] += uncached
        self.prompt_tokens[replica] += request.prompt_tokens
        return replica

    def first_token(self, request: SimulatedRequest, now_ms: float) -> None:
        self.prefill_tokens[request.replica] -= self._uncached.pop(request.index)

    def finished(self, request: SimulatedRequest, now_ms: float) -> None:
        self.prefill_tokens[request.replica] -= self._uncached.pop(request.index, 0)
        self.requests[request.replica] -= 1
        self.prompt_tokens[request.replica] -= request.prompt_tokens

    def replica_lost(self, replica: int) -> None:
        """Its requests have been finished before."""

    def fewest_requests(self, candidates: Sequence[int]) -> int:
        least = min(self.requests[i] for i in candidates)
        return self.random.choice([i for i in candidates if self.requests[i] == least])

    def least(self, costs: dict[int, float]) -> int:
        """The replica with the lowest cost, ties at random."""
        lowest = min(costs.values())
        return self.random.choice([i for i, cost in costs.items() if cost == lowest])
