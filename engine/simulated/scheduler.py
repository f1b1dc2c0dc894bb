"""Continuous batching with chunked prefill, as vLLM does it: decodes first, then prefills first come, first served.

A step that sent a sequence back, and has work, admits none.

Pure: no clock, no asyncio. `plan_step` says what a step works on, `finish_step` what it produced.
"""

from collections import deque
from dataclasses import dataclass, field

from engine.simulated.block_manager import BLOCK_TOKENS, BlockManager
from engine.simulated.step_time import StepLoad, prefill_mpairs


@dataclass(slots=True, eq=False)
class Sequence:
    """One request. `hashes` are of its full prompt blocks; `computed` counts tokens whose KV exists."""

    id: str
    prompt_tokens: int
    output_tokens: int
    hashes: tuple[int, ...] = ()
    computed: int = 0
    generated: int = 0
    cached_tokens: int = 0
    pinned: list[int] = field(default_factory=list)
    private_blocks: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.generated

    @property
    def is_decoding(self) -> bool:
        return self.generated > 0 and self.computed == self.total_tokens - 1

    @property
    def is_finished(self) -> bool:
        return self.generated >= self.output_tokens


@dataclass(frozen=True, slots=True)
class Step:
    """Tokens to compute for each sequence."""

    chunks: tuple[tuple[Sequence, int], ...]
    load: StepLoad


class Scheduler:
    """Which sequences run. `preemptions` counts sequences sent back for want of KV blocks."""

    def __init__(self, kv_capacity_tokens: int, max_batched_tokens: int = 8192, max_sequences: int = 256) -> None:
        self.blocks = BlockManager(max(1, kv_capacity_tokens // BLOCK_TOKENS))
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.preemptions = 0
        self._max_batched_tokens = max_batched_tokens
        self._max_sequences = max_sequences

    def add(self, sequence: Sequence) -> None:
        self.waiting.append(sequence)

    def abort(self, sequence: Sequence) -> None:
        """Forget a sequence wherever it is. One that has finished already is no error."""
        if sequence in self.running:
            self.running.remove(sequence)
            self._release(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)

    def plan_step(self) -> Step | None:
        """What the next step computes; None when there is nothing to do."""
        budget = self._max_batched_tokens
        preemptions_before = self.preemptions
        chunks: list[tuple[Sequence, int]] = []
        for sequence in sorted(self.running, key=lambda s: not s.is_decoding):
            if sequence not in self.running or budget == 0:
                continue
            chunk = min(sequence.total_tokens - sequence.computed, budget)
            if self._make_room(sequence, chunk, {id(s) for s, _ in chunks}):
                chunks.append((sequence, chunk))
                budget -= chunk
        while self._may_admit(budget) and (self.preemptions == preemptions_before or not chunks):
            admitted = self._admit(budget)
            if admitted is None:
                break
            chunks.append(admitted)
            budget -= admitted[1]
        return Step(tuple(chunks), _load(chunks)) if chunks else None

    def _may_admit(self, budget: int) -> bool:
        return bool(self.waiting) and budget > 0 and len(self.running) < self._max_sequences

    def finish_step(self, step: Step) -> list[Sequence]:
        """Sequences that got a token in this step; those that are finished have left."""
        produced = []
        for sequence, chunk in step.chunks:
            if sequence not in self.running:
                continue
            sequence.computed += chunk
            self._publish_full_blocks(sequence)
            if sequence.computed == sequence.total_tokens:
                sequence.generated += 1
                produced.append(sequence)
                if sequence.is_finished:
                    self.running.remove(sequence)
                    self._release(sequence)
        return produced

    def _admit(self, budget: int) -> tuple[Sequence, int] | None:
        sequence = self.waiting[0]
        reusable = sequence.hashes[: (sequence.total_tokens - 1) // BLOCK_TOKENS]
        hit = self.blocks.cached_prefix(reusable)
        chunk = min(sequence.total_tokens - hit * BLOCK_TOKENS, budget)
        for block in reusable[:hit]:
            self.blocks.pin(block)
        sequence.pinned = list(reusable[:hit])
        sequence.computed = hit * BLOCK_TOKENS
        if not self._hold(sequence, chunk):
            self._release(sequence)
            return None
        if sequence.generated == 0:
            sequence.cached_tokens = hit * BLOCK_TOKENS
        self.waiting.popleft()
        self.running.append(sequence)
        return sequence, chunk

    def _make_room(self, sequence: Sequence, chunk: int, planned: set[int]) -> bool:
        """Hold blocks for the chunk, sending the newest other sequences back to wait if there are too few."""
        while not self._hold(sequence, chunk):
            victim = next((s for s in reversed(self.running) if id(s) not in planned), None)
            if victim is None:
                return False
            self.running.remove(victim)
            self._release(victim)
            self.waiting.appendleft(victim)
            self.preemptions += 1
            if victim is sequence:
                return False
        return True

    def _hold(self, sequence: Sequence, chunk: int) -> bool:
        needed = -(-(sequence.computed + chunk) // BLOCK_TOKENS) - len(sequence.pinned) - sequence.private_blocks
        if needed > 0:
            if not self.blocks.take(needed):
                return False
            sequence.private_blocks += needed
        return True

    def _publish_full_blocks(self, sequence: Sequence) -> None:
        full = min(sequence.computed // BLOCK_TOKENS, len(sequence.hashes))
        for block in sequence.hashes[len(sequence.pinned) : full]:
            self.blocks.publish(block)
            sequence.pinned.append(block)
            sequence.private_blocks -= 1

    def _release(self, sequence: Sequence) -> None:
        for block in reversed(sequence.pinned):
            self.blocks.unpin(block)
        self.blocks.give_back(sequence.private_blocks)
        sequence.pinned = []
        sequence.private_blocks = 0
        sequence.computed = 0


def _load(chunks: list[tuple[Sequence, int]]) -> StepLoad:
    prefills = [(s.computed, chunk) for s, chunk in chunks if not s.is_decoding]
    return StepLoad(
        tokens=sum(chunk for _, chunk in chunks),
        attention_mpairs=sum(prefill_mpairs(chunk, computed) for computed, chunk in prefills),
        decode_context_tokens=sum(s.total_tokens for s, _ in chunks if s.is_decoding),
    )
