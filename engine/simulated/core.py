"""The simulated engine's loop: takes a step, lets its time pass, hands out the tokens."""

import asyncio
import bisect
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from engine.simulated.block_manager import BLOCK_TOKENS
from engine.simulated.profiles import Profile
from engine.simulated.scheduler import Scheduler, Sequence
from engine.simulated.words import block_hashes, count_tokens

TTFT_BUCKETS_S = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
    20.0,
    60.0,
)


class EngineFull(Exception):
    """As many requests are inside as the engine was told to hold."""


@dataclass(slots=True)
class Counters:
    """Totals since the start, by vLLM's own metric names."""

    steps: int = 0
    step_tokens: int = 0
    prompt_tokens: int = 0
    generation_tokens: int = 0
    prefix_queries: int = 0
    prefix_hits: int = 0
    requests: int = 0
    first_token_s: float = 0.0
    first_tokens_by_bucket: list[int] = field(default_factory=lambda: [0] * (len(TTFT_BUCKETS_S) + 1))

    def count_first_token(self, after_s: float) -> None:
        self.first_token_s += after_s
        self.first_tokens_by_bucket[bisect.bisect_left(TTFT_BUCKETS_S, after_s)] += 1


class SimulatedEngine:
    """Requests in, a signal per token out. One task steps for all of them."""

    def __init__(self, profile: Profile, max_queued: int, max_batched_tokens: int, max_sequences: int) -> None:
        self.counters = Counters()
        self.scheduler = Scheduler(profile.kv_capacity_tokens, max_batched_tokens, max_sequences)
        self._step_time = profile.step_time
        self._max_queued = max_queued
        self._tokens: dict[Sequence, asyncio.Queue[int]] = {}
        self._work = asyncio.Event()

    async def run(self) -> None:
        """Step for ever."""
        while True:
            step = self.scheduler.plan_step()
            if step is None:
                self._work.clear()
                await self._work.wait()
                continue
            await asyncio.sleep(self._step_time.of(step.load) / 1000)
            self.counters.steps += 1
            self.counters.step_tokens += step.load.tokens
            for sequence in self.scheduler.finish_step(step):
                self.counters.generation_tokens += 1
                queue = self._tokens.get(sequence)
                if queue is not None:
                    queue.put_nowait(sequence.generated)

    def check_room(self) -> None:
        """Raises:
        EngineFull: the queue limit is reached.
        """
        if len(self._tokens) >= self._max_queued:
            raise EngineFull

    async def generate(self, request_id: str, prompt: str, output_tokens: int) -> AsyncIterator[Sequence]:
        """Yields once per token made. Leaving early aborts the request and frees its blocks."""
        sequence = Sequence(request_id, count_tokens(prompt), output_tokens, block_hashes(prompt, BLOCK_TOKENS))
        queue: asyncio.Queue[int] = asyncio.Queue()
        self._tokens[sequence] = queue
        self._count_arrival(sequence)
        self.scheduler.add(sequence)
        self._work.set()
        began_s = time.perf_counter()
        try:
            for number in range(output_tokens):
                await queue.get()
                if number == 0:
                    self.counters.count_first_token(time.perf_counter() - began_s)
                    self.counters.prefix_hits += sequence.cached_tokens
                yield sequence
        finally:
            del self._tokens[sequence]
            self.scheduler.abort(sequence)

    def _count_arrival(self, sequence: Sequence) -> None:
        self.counters.requests += 1
        self.counters.prompt_tokens += sequence.prompt_tokens
        self.counters.prefix_queries += sequence.prompt_tokens
