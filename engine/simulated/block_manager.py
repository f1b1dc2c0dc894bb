"""Paged KV blocks with a prefix cache: a block stays after its last reader until its room is needed (LRU)."""

from collections import OrderedDict
from collections.abc import Sequence

BLOCK_TOKENS = 16


class BlockManager:
    """Counts blocks, never stores them. `blocks_per_hash` full prompt blocks are known by the hash of all tokens up to
    their end: one, or as many as a trace's coarser hashes cover.
    """

    def __init__(self, capacity_blocks: int, blocks_per_hash: int = 1) -> None:
        self.capacity_blocks = capacity_blocks
        self.blocks_per_hash = blocks_per_hash
        self._readers: dict[int, int] = {}
        self._unread: OrderedDict[int, None] = OrderedDict()
        self._private = 0

    @property
    def used_blocks(self) -> int:
        """Blocks that a sequence holds now; cached blocks without a reader are room."""
        return len(self._readers) * self.blocks_per_hash + self._private

    @property
    def free_blocks(self) -> int:
        return self.capacity_blocks - self.used_blocks

    def cached_prefix(self, hashes: Sequence[int]) -> int:
        """How many leading hashes are in the cache."""
        count = 0
        for block in hashes:
            if block not in self._readers and block not in self._unread:
                break
            count += 1
        return count

    def pin(self, block: int) -> None:
        """Read a cached block, so that it is not evicted."""
        self._unread.pop(block, None)
        self._readers[block] = self._readers.get(block, 0) + 1

    def unpin(self, block: int) -> None:
        self._readers[block] -= 1
        if self._readers[block] == 0:
            del self._readers[block]
            self._unread[block] = None

    def take(self, count: int) -> bool:
        """Hold `count` more private blocks, evicting the least recently read cached ones; False if there is no room."""
        if count > self.free_blocks:
            return False
        self._private += count
        self._evict()
        return True

    def give_back(self, count: int) -> None:
        self._private -= count

    def publish(self, block: int) -> None:
        """Private blocks are full and their content known: others may read them; their writer is their first reader."""
        self._private -= self.blocks_per_hash
        self.pin(block)

    def _evict(self) -> None:
        room = self.capacity_blocks - self.used_blocks
        while len(self._unread) * self.blocks_per_hash > room:
            self._unread.popitem(last=False)
