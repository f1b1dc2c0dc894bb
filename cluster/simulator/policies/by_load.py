"""Policies that ignore the cache: round robin, least requests, power of two."""

from collections.abc import Sequence

from cluster.simulator.policies.in_flight import InFlight
from cluster.simulator.request import SimulatedRequest


class RoundRobin(InFlight):
    """In turn."""

    _turn = -1

    def choose(self, request: SimulatedRequest, candidates: Sequence[int], now_ms: float) -> int:
        self._turn += 1
        return self.place(request, candidates[self._turn % len(candidates)])


class LeastRequests(InFlight):
    """Fewest requests in flight."""

    def choose(self, request: SimulatedRequest, candidates: Sequence[int], now_ms: float) -> int:
        return self.place(request, self.fewest_requests(candidates))


class PowerOfTwo(InFlight):
    """The one with fewer requests of two drawn at random."""

    def choose(self, request: SimulatedRequest, candidates: Sequence[int], now_ms: float) -> int:
        drawn = self.random.sample(list(candidates), min(2, len(candidates)))
        return self.place(request, self.fewest_requests(drawn))
