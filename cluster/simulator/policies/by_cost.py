"""Policies that add up costs or scores from the engines' own state: Dynamo, LMetric, llm-d.

They get it exact and at once, which is better than any of them has it: KV events lag, and metrics are scraped.
"""

from collections.abc import Sequence

from cluster.simulator.policies.in_flight import InFlight
from cluster.simulator.request import SimulatedRequest
from engine.simulated.block_manager import BLOCK_TOKENS

STICKY_MATCH = 0.8
STICKY_PENALTY_MS = 18_000.0
STICKY_TOKENS_PER_S = 15_928.0


class DynamoCost(InFlight):
    """Dynamo's KV router, also Ray's KVAwareRouter: uncached prefill blocks, queued and own, plus active blocks."""

    def choose(self, request: SimulatedRequest, candidates: Sequence[int], now_ms: float) -> int:
        return self.place(request, self.least({i: self._blocks(request, i) for i in candidates}))

    def _blocks(self, request: SimulatedRequest, i: int) -> float:
        prefill = self.prefill_tokens[i] + self.uncached_tokens(request, i)
        return (prefill + self.prompt_tokens[i] + request.prompt_tokens) / BLOCK_TOKENS


class LMetric(InFlight):
    """arXiv 2603.15202: uncached prefill tokens, queued and own, times the batch it joins."""

    def choose(self, request: SimulatedRequest, candidates: Sequence[int], now_ms: float) -> int:
        costs = {
            i: float((self.prefill_tokens[i] + self.uncached_tokens(request, i)) * (self.requests[i] + 1))
            for i in candidates
        }
        return self.place(request, self.least(costs))


class LlmD(InFlight):
    """llm-d's default profile: prefix 3, queue 2, KV use 2, each scored in [0, 1]; the highest sum."""

    def choose(self, request: SimulatedRequest, candidates: Sequence[int], now_ms: float) -> int:
        queues = [len(self.replicas[i].waiting) for i in candidates]
        spread = max(queues) - min(queues)
        costs = {}
        for i, queue in zip(candidates, queues, strict=True):
            blocks = self.replicas[i].blocks
            idle_queue = (max(queues) - queue) / spread if spread else 1.0
            free = 1 - blocks.used_blocks / blocks.capacity_blocks
            costs[i] = -(3 * self.prefix_score(request, i) + 2 * idle_queue + 2 * free)
        return self.place(request, self.least(costs))

    def prefix_score(self, request: SimulatedRequest, i: int) -> float:
        return 1 - self.uncached_tokens(request, i) / request.prompt_tokens


class LlmDSticky(LlmD):
    """llm-d's prefix-cache affinity filter: stay where 80 % is cached until that costs 18 s more than elsewhere."""

    def choose(self, request: SimulatedRequest, candidates: Sequence[int], now_ms: float) -> int:
        sticky = [i for i in candidates if self.prefix_score(request, i) >= STICKY_MATCH]
        others = [i for i in candidates if i not in sticky]
        if sticky and others:
            penalty_ms = min(map(self._wait_ms, sticky)) - min(map(self._wait_ms, others))
            sticky = [] if penalty_ms > STICKY_PENALTY_MS else sticky
        return super().choose(request, sticky or candidates, now_ms)

    def _wait_ms(self, i: int) -> float:
        return self.prefill_tokens[i] / STICKY_TOKENS_PER_S * 1000
