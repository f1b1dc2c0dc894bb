"""One replica in simulated time: continuous batching, chunked prefill, paged KV blocks, prefix cache, preemption.

Step for step what `engine.simulated.scheduler` does (a test compares them), but steps that only decode are taken many
at a time: their durations are an arithmetic series, and they end at the first sequence to finish, the first block that
is missing, or an arrival.
"""

import heapq
import math
from collections import deque

from cluster.simulator.feed import Feed
from cluster.simulator.request import SimulatedRequest
from engine.simulated.block_manager import BLOCK_TOKENS, BlockManager
from engine.simulated.step_time import StepLoad, StepTime, prefill_mpairs

MAX_BATCHED_TOKENS = 8192
MAX_SEQUENCES = 256


class Replica:
    """Give it requests by `submit`; at `next_event_ms` call `advance`, which says who got a first token or finished."""

    def __init__(self, step_time: StepTime, kv_capacity_tokens: int, hash_tokens: int) -> None:
        self.blocks = BlockManager(max(1, kv_capacity_tokens // BLOCK_TOKENS), hash_tokens // BLOCK_TOKENS)
        self.waiting: deque[SimulatedRequest] = deque()
        self.running: dict[int, SimulatedRequest] = {}
        self.feed = Feed()
        self.preemptions = 0
        self.next_event_ms = math.inf
        self._step_time = step_time
        self.hash_tokens = hash_tokens
        self._prefilling: list[SimulatedRequest] = []
        self._decoding = 0
        self._decode_context_tokens = 0
        self._begins_block = [0] * BLOCK_TOKENS
        self._finishes: list[tuple[int, int, SimulatedRequest]] = []
        self._step = 0
        self._run_started_ms = 0.0
        self._run_steps = 0
        self._run_chunks: list[tuple[SimulatedRequest, int]] = []

    def submit(self, request: SimulatedRequest, now_ms: float) -> None:
        """It joins at the end of the step that is being computed."""
        self.waiting.append(request)
        if not self._run_steps:
            self._begin_run(now_ms)
        elif self._run_steps > 1:
            self._cut_run_short(now_ms)

    def advance(self) -> tuple[list[SimulatedRequest], list[SimulatedRequest]]:
        """End the run of steps that is due; returns who got a first token and who finished, now."""
        now_ms = self.next_event_ms
        first, finished = self._finish_run(now_ms)
        self._begin_run(now_ms)
        return first, finished

    def cached_prefix_tokens(self, request: SimulatedRequest) -> int:
        """What of this prompt is in the prefix cache now."""
        reusable = request.hashes[: (request.total_tokens - 1) // self.hash_tokens]
        return self.blocks.cached_prefix(reusable) * self.hash_tokens

    def requests(self) -> list[SimulatedRequest]:
        """Everything that is here and not finished."""
        return [*self.running.values(), *self.waiting]

    def can_hold(self, request: SimulatedRequest) -> bool:
        """Whether its KV fits at all: one that does not is refused, as an engine refuses it."""
        return math.ceil((request.prompt_tokens + request.output_tokens) / BLOCK_TOKENS) <= self.blocks.capacity_blocks

    def _begin_run(self, now_ms: float) -> None:
        self._run_started_ms = now_ms
        self._run_chunks = []
        preemptions_before = self.preemptions
        self._make_room_for_decodes()
        budget = MAX_BATCHED_TOKENS - self._decoding
        for request in list(self._prefilling):
            chunk = min(request.total_tokens - request.computed, budget)
            if chunk and request.index in self.running and self._make_room(request, chunk):
                self._run_chunks.append((request, chunk))
                budget -= chunk
        while self._may_admit(budget, preemptions_before):
            chunk = self._admit(budget)
            if not chunk:
                break
            budget -= chunk
        self._run_steps = 1 if self._run_chunks else self._decode_steps()
        self.next_event_ms = now_ms + self._run_ms(self._run_steps) if self._run_steps else math.inf

    def _may_admit(self, budget: int, preemptions_before: int) -> bool:
        """A step that sent a request back, and has work, admits none."""
        may = self.preemptions == preemptions_before or not (self._run_chunks or self._decoding)
        return may and bool(self.waiting) and budget > 0 and len(self.running) < MAX_SEQUENCES

    def _run_ms(self, steps: int) -> float:
        """Every decode of a run adds one token of context per step: c_kv·n·(0 + 1 + … + (steps − 1)) on top."""
        prefills = [(r.computed, chunk) for r, chunk in self._run_chunks if not r.lacks_one_token]
        resumed = [r.total_tokens for r, _ in self._run_chunks if r.lacks_one_token]
        first_ms = self._step_time.of(
            StepLoad(
                tokens=self._decoding + len(resumed) + sum(chunk for _, chunk in prefills),
                attention_mpairs=sum(prefill_mpairs(chunk, computed) for computed, chunk in prefills),
                decode_context_tokens=self._decode_context_tokens + sum(resumed),
            )
        )
        return steps * first_ms + self._step_time.c_kv_ms * self._decoding / 1000 * steps * (steps - 1) / 2

    def _cut_run_short(self, now_ms: float) -> None:
        """To the end of the step that runs at `now_ms`."""
        low, high = 1, self._run_steps
        while low < high:
            middle = (low + high) // 2
            if self._run_started_ms + self._run_ms(middle) >= now_ms:
                high = middle
            else:
                low = middle + 1
        self._run_steps = low
        self.next_event_ms = self._run_started_ms + self._run_ms(low)

    def _decode_steps(self) -> int:
        """How many steps all decodes can go on together; the blocks of the first are held already."""
        if not self._decoding:
            return 0
        steps = self._finishes[0][0] - self._step
        free = self.blocks.free_blocks
        most = 1 + free // self._decoding * BLOCK_TOKENS
        free %= self._decoding
        while most < steps and self._blocks_at(most) <= free:
            free -= self._blocks_at(most)
            most += 1
        return min(steps, most)

    def _blocks_at(self, steps_ahead: int) -> int:
        """How many decodes begin a new block in that step."""
        return self._begins_block[(1 - self._step - steps_ahead) % BLOCK_TOKENS]

    def _blocks_of_run(self) -> int:
        """All but those of the first step."""
        cycles, rest = divmod(self._run_steps - 1, BLOCK_TOKENS)
        return cycles * self._decoding + sum(self._blocks_at(1 + i) for i in range(rest))

    def _finish_run(self, now_ms: float) -> tuple[list[SimulatedRequest], list[SimulatedRequest]]:
        first: list[SimulatedRequest] = []
        finished: list[SimulatedRequest] = []
        taken = self.blocks.take(self._blocks_of_run())
        assert taken, "a run is no longer than its blocks"
        self._step += self._run_steps
        self._decode_context_tokens += self._decoding * self._run_steps
        while self._finishes and self._finishes[0][0] <= self._step:
            _, _, request = heapq.heappop(self._finishes)
            if request.finish_step == self._step:
                self._stop_decoding(request)
                self._finish(request, now_ms)
                finished.append(request)
        for request, chunk in self._run_chunks:
            request.computed += chunk
            self._publish_full_blocks(request)
            if request.computed == request.total_tokens:
                self._prefilling.remove(request)
                request.generated += 1
                if request.generated == 1:
                    request.first_token_ms = now_ms
                    first.append(request)
                if request.generated >= request.output_tokens:
                    self._finish(request, now_ms)
                    finished.append(request)
                else:
                    self._start_decoding(request)
        return first, finished

    def _start_decoding(self, request: SimulatedRequest) -> None:
        request.finish_step = self._step + request.output_tokens - request.generated
        heapq.heappush(self._finishes, (request.finish_step, request.index, request))
        self._decoding += 1
        self._decode_context_tokens += request.total_tokens
        self._begins_block[(request.total_tokens - self._step) % BLOCK_TOKENS] += 1

    def _stop_decoding(self, request: SimulatedRequest) -> None:
        """Bring its own counters up to date; the heap forgets it when it comes up."""
        request.generated = request.output_tokens - (request.finish_step - self._step)
        request.finish_step = -1
        request.computed = request.total_tokens - 1
        request.private_blocks = (
            math.ceil(request.computed / BLOCK_TOKENS) - len(request.pinned) * self.blocks.blocks_per_hash
        )
        self._decoding -= 1
        self._decode_context_tokens -= request.total_tokens
        self._begins_block[(request.total_tokens - self._step) % BLOCK_TOKENS] -= 1

    def _finish(self, request: SimulatedRequest, now_ms: float) -> None:
        request.finished_ms = now_ms
        del self.running[request.index]
        self._release(request)

    def _admit(self, budget: int) -> int:
        """Tokens of the head of the queue that go into this step; 0 if there is no room for them."""
        request = self.waiting[0]
        reusable = request.hashes[: (request.total_tokens - 1) // self.hash_tokens]
        hits = self.blocks.cached_prefix(reusable)
        for block in reusable[:hits]:
            self.blocks.pin(block)
        request.pinned = list(reusable[:hits])
        request.computed = hits * self.hash_tokens
        chunk = min(request.total_tokens - request.computed, budget)
        if not self._hold(request, chunk):
            self._release(request)
            return 0
        if request.cached_tokens < 0:
            request.cached_tokens = request.computed
        self.waiting.popleft()
        self.running[request.index] = request
        self._prefilling.append(request)
        self._run_chunks.append((request, chunk))
        return chunk

    def _make_room_for_decodes(self) -> None:
        """Hold the blocks of the next step for all at once, or if there are too few, one by one."""
        needed = self._blocks_at(0) if self._decoding else 0
        if self.blocks.take(needed):
            return
        planned: set[int] = set()
        for request in [r for r in self.running.values() if r.finish_step >= 0]:
            begins = (request.prompt_tokens + request.output_tokens - request.finish_step + self._step) % BLOCK_TOKENS
            while request.index in self.running and begins == 1 and not self.blocks.take(1):
                self._preempt(next(r for r in reversed(self.running.values()) if r.index not in planned))
            planned.add(request.index)

    def _make_room(self, request: SimulatedRequest, chunk: int) -> bool:
        """Hold blocks for the chunk, sending the newest others that are not in this step back to wait."""
        planned = {r.index for r, _ in self._run_chunks}
        while not self._hold(request, chunk):
            victim = next(
                (r for r in reversed(self.running.values()) if r.finish_step < 0 and r.index not in planned), None
            )
            if victim is None:
                return False
            self._preempt(victim)
            if victim is request:
                return False
        return True

    def _preempt(self, request: SimulatedRequest) -> None:
        if request.finish_step >= 0:
            self._stop_decoding(request)
        else:
            self._prefilling.remove(request)
        del self.running[request.index]
        self._release(request)
        self.waiting.appendleft(request)
        self.preemptions += 1

    def _hold(self, request: SimulatedRequest, chunk: int) -> bool:
        held = len(request.pinned) * self.blocks.blocks_per_hash + request.private_blocks
        needed = math.ceil((request.computed + chunk) / BLOCK_TOKENS) - held
        if needed > 0:
            if not self.blocks.take(needed):
                return False
            request.private_blocks += needed
        return True

    def _publish_full_blocks(self, request: SimulatedRequest) -> None:
        full = min(request.computed // self.hash_tokens, len(request.hashes))
        for block in request.hashes[len(request.pinned) : full]:
            self.blocks.publish(block)
            request.pinned.append(block)
            request.private_blocks -= self.blocks.blocks_per_hash

    def _release(self, request: SimulatedRequest) -> None:
        for block in reversed(request.pinned):
            self.blocks.unpin(block)
        self.blocks.give_back(request.private_blocks)
        request.pinned = []
        request.private_blocks = 0
        request.computed = 0
