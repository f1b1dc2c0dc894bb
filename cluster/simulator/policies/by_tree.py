"""Policies with a prefix tree of their own, of what they sent where: SGLang, vllm-router, Ray, KubeAI, AIBrix."""

import bisect
import math
import statistics
from collections import OrderedDict
from collections.abc import Sequence
from random import Random

from cluster.simulator.policies.in_flight import InFlight
from cluster.simulator.replica import Replica
from cluster.simulator.request import SimulatedRequest
from deployments.gateway.routing.score import Slo

TREE_BLOCKS = 1 << 16


class PrefixTree(InFlight):
    """Per replica, the prompt blocks sent there, the least recently sent forgotten first."""

    def __init__(self, replicas: Sequence[Replica], random: Random, slo: Slo) -> None:
        super().__init__(replicas, random, slo)
        self._trees: list[OrderedDict[int, None]] = [OrderedDict() for _ in replicas]

    def match_rate(self, request: SimulatedRequest, replica: int) -> float:
        """Matched ÷ all prompt blocks; 0 for a prompt shorter than one."""
        tree, matched = self._trees[replica], 0
        for block in request.hashes:
            if block not in tree:
                break
            matched += 1
        return matched / len(request.hashes) if request.hashes else 0.0

    def tree_size(self, replica: int) -> int:
        return len(self._trees[replica])

    def place(self, request: SimulatedRequest, replica: int) -> int:
        tree = self._trees[replica]
        for block in reversed(request.hashes):
            tree[block] = None
            tree.move_to_end(block)
        while len(tree) > TREE_BLOCKS:
            tree.popitem(last=False)
        return super().place(request, replica)

    def replica_lost(self, replica: int) -> None:
        self._trees[replica].clear()

    def is_imbalanced(self, candidates: Sequence[int], absolute: float, relative: float) -> bool:
        loads = [self.requests[i] for i in candidates]
        return max(loads) - min(loads) > absolute and max(loads) > relative * min(loads)


class CacheAware(PrefixTree):
    """Imbalanced: fewest requests. Else the best match above the threshold, or the smallest tree (sgl-router)."""

    threshold, absolute, relative = 0.5, 32.0, 1.1

    def choose(self, request: SimulatedRequest, candidates: Sequence[int], now_ms: float) -> int:
        if self.is_imbalanced(candidates, self.absolute, self.relative):
            return self.place(request, self.fewest_requests(candidates))
        rates = {i: self.match_rate(request, i) for i in candidates}
        if max(rates.values()) > self.threshold:
            return self.place(request, self.least({i: -rate for i, rate in rates.items()}))
        return self.place(request, self.least({i: self.tree_size(i) for i in candidates}))


class VllmRouter(CacheAware):
    """vllm-router 0.1.17's defaults of the same rule."""

    threshold, absolute, relative = 0.3, 64.0, 1.5


class RayPrefixAffinity(PrefixTree):
    """Ray Serve's PrefixCacheAffinityRouter: matched at 0.1 or else the smallest tree, then the shorter queue."""

    def choose(self, request: SimulatedRequest, candidates: Sequence[int], now_ms: float) -> int:
        rates = {i: self.match_rate(request, i) for i in candidates}
        best = max(rates.values())
        if best >= 0.1:
            preferred = [i for i, rate in rates.items() if rate == best]
        else:
            smallest = min(self.tree_size(i) for i in candidates)
            preferred = [i for i in candidates if self.tree_size(i) == smallest]
        return self.place(request, self.fewest_requests(preferred))


class BoundedLoadRing(PrefixTree):
    """KubeAI: consistent hashing of the prompt's beginning, 256 virtual nodes, load at most 125 % of the mean."""

    def __init__(self, replicas: Sequence[Replica], random: Random, slo: Slo) -> None:
        super().__init__(replicas, random, slo)
        points = ((Random(f"{i} {v}").random(), i) for i in range(len(replicas)) for v in range(256))  # noqa: S311
        self._ring = sorted(points)

    def choose(self, request: SimulatedRequest, candidates: Sequence[int], now_ms: float) -> int:
        bound = math.ceil(1.25 * (sum(self.requests[i] for i in candidates) + 1) / len(candidates))
        prefix = request.hashes[0] if request.hashes else request.index
        start = bisect.bisect(self._ring, (Random(prefix).random(), -1))  # noqa: S311
        for step in range(len(self._ring)):
            replica = self._ring[(start + step) % len(self._ring)][1]
            if replica in candidates and self.requests[replica] <= bound:
                return self.place(request, replica)
        return self.place(request, self.fewest_requests(candidates))


class AibrixPrefixCache(PrefixTree):
    """AIBrix: balanced within 8 requests, the best match whose load is within a standard deviation of the mean."""

    def choose(self, request: SimulatedRequest, candidates: Sequence[int], now_ms: float) -> int:
        loads = [self.requests[i] for i in candidates]
        limit = statistics.fmean(loads) + statistics.pstdev(loads)
        rates = {i: self.match_rate(request, i) for i in candidates if self.requests[i] <= limit}
        if max(loads) - min(loads) >= 8 or not any(rates.values()):
            return self.place(request, self.fewest_requests(candidates))
        return self.place(request, self.least({i: -rate for i, rate in rates.items()}))
