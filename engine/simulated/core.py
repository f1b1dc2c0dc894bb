"""The simulated engine's loop: takes a step, lets its time pass, hands out the tokens."""

import asyncio
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field

from engine.simulated.block_manager import BLOCK_TOKENS
from engine.simulated.latencies import Latencies
from engine.simulated.profiles import Profile
from engine.simulated.request_state import OutputProcessor, RequestState
from engine.simulated.scheduler import Scheduler, Sequence, Step
from engine.simulated.timings import Timings
from engine.simulated.words import block_hashes, count_tokens


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


@dataclass(slots=True)
class Asked:
    """One request: a sequence for each answer. `made`: tokens of each that nobody has taken yet."""

    sequences: list[Sequence]
    made: list[int]
    timings: Timings
    is_prefilled: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)


class SimulatedEngine:
    """Requests in, a signal per token out. One task steps for all of them."""

    def __init__(self, profile: Profile, max_queued: int, max_batched_tokens: int, max_sequences: int) -> None:
        self.counters = Counters()
        self.latencies = Latencies()
        self.scheduler = Scheduler(profile.kv_capacity_tokens, max_batched_tokens, max_sequences)
        self.output_processor = OutputProcessor()
        self._step_time = profile.step_time
        self._max_queued = max_queued
        self._asked: dict[Sequence, tuple[Asked, int]] = {}
        self._requests = 0
        self._work = asyncio.Event()

    async def run(self) -> None:
        """Step for ever."""
        while True:
            step = self.scheduler.plan_step()
            if step is None:
                self._work.clear()
                await self._work.wait()
                continue
            self._note_scheduled(step)
            await asyncio.sleep(self._step_time.of(step.load) / 1000)
            self.counters.steps += 1
            self.counters.step_tokens += step.load.tokens
            for sequence in self.scheduler.finish_step(step):
                self._count_token(sequence)

    def check_room(self) -> None:
        """Raises:
        EngineFull: the queue limit is reached.
        """
        if self._requests >= self._max_queued:
            raise EngineFull

    async def generate(
        self, request_id: str, prompt: str, lengths: Collection[int], timings: Timings
    ) -> AsyncIterator[tuple[list[int], Sequence]]:
        """An answer of each of the `lengths`, in tokens. Yields how many more tokens of each there are, all that were
        made since the last time, with the first sequence. Leaving early aborts the request and frees its blocks.
        `timings` are filled in.
        """
        hashes = block_hashes(prompt, BLOCK_TOKENS)
        sequences = [Sequence(request_id, count_tokens(prompt), length, hashes) for length in lengths]
        asked = Asked(sequences, [0] * len(sequences), timings)
        self.counters.requests += 1
        self.counters.prefix_queries += sequences[0].prompt_tokens
        self._requests += 1
        for index, sequence in enumerate(sequences):
            self._asked[sequence] = asked, index
            name = f"{index}_{request_id}"
            self.output_processor.request_states[name] = RequestState(request_id, sequence)
            self.scheduler.add(sequence)
        self._work.set()
        try:
            async for made in self._made(asked):
                yield made, sequences[0]
        finally:
            self._requests -= 1
            for index, sequence in enumerate(sequences):
                self._asked.pop(sequence, None)
                self.output_processor.request_states.pop(f"{index}_{request_id}", None)
                self.scheduler.abort(sequence)

    async def _made(self, asked: Asked) -> AsyncIterator[list[int]]:
        left = sum(sequence.output_tokens for sequence in asked.sequences)
        is_first = True
        while left:
            await asked.news.wait()
            asked.news.clear()
            made, asked.made = asked.made, [0] * len(asked.made)
            if is_first:
                is_first = False
                self.counters.prefix_hits += asked.sequences[0].cached_tokens
            left -= sum(made)
            if not left:
                self.latencies.ended(asked.timings)
            yield made

    def _note_scheduled(self, step: Step) -> None:
        for sequence, _ in step.chunks:
            if not sequence.generated:
                self._asked[sequence][0].timings.scheduled()

    def _count_token(self, sequence: Sequence) -> None:
        """A prompt counts with its first token, and once for all answers to it."""
        asked, index = self._asked[sequence]
        if not asked.is_prefilled:
            asked.is_prefilled = True
            self.counters.prompt_tokens += sequence.prompt_tokens
        self.counters.generation_tokens += 1
        before_s = asked.timings.last_token_s
        asked.timings.got_token()
        self.latencies.got_token(asked.timings, before_s)
        asked.made[index] += 1
        asked.news.set()
