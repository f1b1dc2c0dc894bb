"""What each replica has probably cached: prompt blocks by chained hash, from what was sent there.

One table from hash to the set of replicas (a bit each), so that a lookup walks the prompt once whatever the number of
replicas; and per replica a likeness of its engine's cache: blocks that a running request reads stay, the others go in
the order in which vLLM evicts them, least recently used first and a prompt's tail before its beginning.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

ENTRY_BYTES = 400


@dataclass(slots=True)
class _Cache:
    """One replica's blocks. `weights`: the tokens of each; `tokens` of all; `read_tokens` of those being read."""

    bit: int
    weights: dict[int, float] = field(default_factory=dict)
    readers: dict[int, int] = field(default_factory=dict)
    unread: OrderedDict[int, None] = field(default_factory=OrderedDict)
    tokens: float = 0.0
    read_tokens: float = 0.0


class PrefixIndex:
    """Bounded by `max_bytes` over all replicas: about `ENTRY_BYTES` for each block of each replica.

    What running requests read is kept beyond it, as it is in the engines.
    """

    def __init__(self, max_bytes: int) -> None:
        self.set_max_bytes(max_bytes)
        self._caches: dict[str, _Cache] = {}
        self._replicas_by_bit: dict[int, str] = {}
        self._holders: dict[int, int] = {}

    def set_max_bytes(self, max_bytes: int) -> None:
        """What is beyond it is forgotten as replicas get new requests."""
        self._max_entries = max(1, max_bytes // ENTRY_BYTES)

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

    def read(self, replica: str, blocks: Sequence[int], ends: Sequence[float]) -> None:
        """A request with these blocks begins there. `ends`: prompt tokens up to the end of each block."""
        cache = self._caches.get(replica) or self._new(replica)
        begin = 0.0
        for block, end in zip(blocks, ends, strict=True):
            if block in cache.readers:
                cache.readers[block] += 1
            else:
                cache.readers[block] = 1
                cache.read_tokens += cache.weights.get(block, end - begin)
                if block in cache.weights:
                    del cache.unread[block]
                else:
                    cache.weights[block] = end - begin
                    cache.tokens += end - begin
                    self._holders[block] = self._holders.get(block, 0) | cache.bit
            begin = end

    def release(self, replica: str, blocks: Sequence[int]) -> None:
        """That request has ended; its blocks stay until room is needed."""
        cache = self._caches.get(replica)
        if cache is None:
            return
        for block in reversed(blocks):
            readers = cache.readers.get(block, 0)
            if readers > 1:
                cache.readers[block] = readers - 1
            elif readers:
                del cache.readers[block]
                cache.read_tokens -= cache.weights[block]
                cache.unread[block] = None

    def shrink(self, replica: str, tokens: float) -> None:
        """Forget the least recently used until at most `tokens` are left, and this replica's share of the bytes."""
        cache = self._caches.get(replica)
        if cache is None:
            return
        share = self._max_entries // len(self._caches)
        while cache.unread and (cache.tokens > tokens or len(cache.weights) > share):
            self._forget(cache, next(iter(cache.unread)))

    def held_tokens(self, replica: str) -> float:
        cache = self._caches.get(replica)
        return cache.tokens if cache else 0.0

    def read_tokens(self, replica: str) -> float:
        """Of blocks that running requests read, each counted once."""
        cache = self._caches.get(replica)
        return cache.read_tokens if cache else 0.0

    def readers(self, replica: str, block: int) -> int:
        """How many running requests read this block there."""
        cache = self._caches.get(replica)
        return cache.readers.get(block, 0) if cache else 0

    def entries(self) -> int:
        """Blocks of all replicas."""
        return sum(len(cache.weights) for cache in self._caches.values())

    def remove(self, replica: str) -> None:
        """The replica is gone; what is known of the others stays."""
        cache = self._caches.pop(replica, None)
        if cache is None:
            return
        for block in list(cache.weights):
            self._drop_holder(cache, block)
        del self._replicas_by_bit[cache.bit]

    def _new(self, replica: str) -> _Cache:
        bit = 1
        while bit in self._replicas_by_bit:
            bit <<= 1
        self._replicas_by_bit[bit] = replica
        self._caches[replica] = _Cache(bit)
        return self._caches[replica]

    def _forget(self, cache: _Cache, block: int) -> None:
        del cache.unread[block]
        cache.tokens -= cache.weights.pop(block)
        self._drop_holder(cache, block)

    def _drop_holder(self, cache: _Cache, block: int) -> None:
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
