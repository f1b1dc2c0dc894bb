"""Which nodes need an exporter: those with a replica or a gateway, and for a while those that had one. Pure.

Not every node: Ray takes none away on which an actor runs, even one that needs nothing.
"""

from collections.abc import Collection

NEEDED_FOR_S = 60.0


class ExportedNodes:
    """Times: any one clock, in seconds."""

    def __init__(self) -> None:
        self._seen_s: dict[str, float] = {}

    def saw(self, node_ids: Collection[str], now_s: float) -> None:
        """Something of ours runs there."""
        self._seen_s |= dict.fromkeys(node_ids, now_s)

    def now(self, now_s: float) -> frozenset[str]:
        self._seen_s = {node: at_s for node, at_s in self._seen_s.items() if now_s - at_s < NEEDED_FOR_S}
        return frozenset(self._seen_s)
