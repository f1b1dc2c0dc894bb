"""What each replica has probably cached: prompt blocks by chained hash, from what was sent there.

One table from hash to the set of replicas (a bit each), so that a lookup walks the prompt once whatever the number of
replicas, and per replica the order in which its engine will forget: least recently used first, as vLLM evicts.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

ENTRY_BYTES = 320


@dataclass(slots=True)
class _Cache:
    """One replica's blocks, oldest first, with the tokens each stands for."""

    bit: int
    blocks: OrderedDict[int, int] = field(default_factory=OrderedDict)
    tokens: int = 0


class PrefixIndex:
    """Bounded by `max_bytes` over all replicas (about `ENTRY_BYTES` for each block of each replica)."""

    def __init__(self, max_bytes: int) -> None:
        self._max_entries = max(1, max_bytes // ENTRY_BYTES)
        self._caches: dict[str, _Cache] = {}
        self._replicas_by_bit: dict[int, str] = {}
        self._holders: dict[int, int] = {}
        self.entries = 0

    def hits(self, blocks: Sequence[int]) -> dict[str, int]:
        """How many leading blocks each replica holds; replicas that hold none are left out."""
        depths: dict[str, int] = {}
        holding = -1
        for depth, block in enumerate(blocks):
            still = holding & self._holders.get(block, 0)
            if depth and still != holding:
                self._note(holding & ~still, depth, depths)
            holding = still
            if not holding:
                return depths
        if blocks:
            self._note(holding, len(blocks), depths)
        return depths

    def insert(self, replica: str, blocks: Sequence[int], ends: Sequence[int]) -> None:
        """The replica has these now, the beginning of the prompt most recently used: engines forget tails first.

        `ends`: prompt tokens up to the end of each block.
        """
        cache = self._caches.get(replica) or self._new(replica)
        for depth in range(len(blocks) - 1, -1, -1):
            block = blocks[depth]
            if block in cache.blocks:
                cache.blocks.move_to_end(block)
                continue
            weight = ends[depth] - (ends[depth - 1] if depth else 0)
            cache.blocks[block] = weight
            cache.tokens += weight
            self._holders[block] = self._holders.get(block, 0) | cache.bit
            self.entries += 1
        share = max(1, self._max_entries // len(self._caches))
        while len(cache.blocks) > share:
            self._forget_oldest(cache)

    def held_tokens(self, replica: str) -> int:
        cache = self._caches.get(replica)
        return cache.tokens if cache else 0

    def shrink(self, replica: str, tokens: int) -> None:
        """Forget the least recently used until at most `tokens` are left: the engine has no room for more."""
        cache = self._caches.get(replica)
        while cache and cache.tokens > tokens:
            self._forget_oldest(cache)

    def unlearn(self, replica: str, block: int) -> None:
        """The engine did not have this block: it is forgotten, with all that was used before it."""
        cache = self._caches.get(replica)
        while cache and block in cache.blocks:
            self._forget_oldest(cache)

    def remove(self, replica: str) -> None:
        """The replica is gone; what is known of the others stays."""
        cache = self._caches.get(replica)
        if cache is None:
            return
        while cache.blocks:
            self._forget_oldest(cache)
        del self._caches[replica]
        del self._replicas_by_bit[cache.bit]

    def _new(self, replica: str) -> _Cache:
        bit = 1
        while bit in self._replicas_by_bit:
            bit <<= 1
        self._replicas_by_bit[bit] = replica
        self._caches[replica] = _Cache(bit)
        return self._caches[replica]

    def _forget_oldest(self, cache: _Cache) -> None:
        block, weight = cache.blocks.popitem(last=False)
        cache.tokens -= weight
        self.entries -= 1
        left = self._holders[block] & ~cache.bit
        if left:
            self._holders[block] = left
        else:
            del self._holders[block]

    def _note(self, holding: int, depth: int, depths: dict[str, int]) -> None:
        while holding:
            bit = holding & -holding
            depths[self._replicas_by_bit[bit]] = depth
            holding ^= bit
