"""What each tenant has been served, in tokens: the one with least goes first.

Virtual token counters (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024) with the virtual time of
start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996): a tenant that comes back is lifted to what the one that was
served last had before that. Time in which it asked for nothing is no credit; and it goes before who waits already.
"""

from collections.abc import Iterable

OUTPUT_WEIGHT = 2.0
TENANTS_KEPT = 1024


def cost_tokens(uncached_tokens: float, output_tokens: float) -> float:
    """What a request takes: prompt tokens that are computed, and output tokens, each of which counts twice."""
    return uncached_tokens + OUTPUT_WEIGHT * output_tokens


class VirtualCounters:
    """Of tenants of one priority that share one model at one gateway. The `floor` never falls."""

    def __init__(self) -> None:
        self.floor = 0.0
        self._tokens: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._tokens)

    def of(self, tenant: str) -> float:
        return self._tokens.get(tenant, self.floor)

    def lift(self, tenant: str) -> None:
        """It had nothing that waits and now has."""
        self._tokens[tenant] = max(self.of(tenant), self.floor)

    def charge(self, tenant: str, tokens: float) -> None:
        """A request of it goes to a replica, and will take so much, as far as known."""
        before = self.of(tenant)
        self.floor = max(self.floor, before)
        self._tokens[tenant] = before + tokens

    def correct(self, tenant: str, tokens: float) -> None:
        """A request took so much more than it was charged, or less if this is negative."""
        self._tokens[tenant] = self.of(tenant) + tokens

    def forget_settled(self, waiting: Iterable[str]) -> None:
        """Drop tenants who would be lifted to the floor anyway, once there are many."""
        if len(self._tokens) > TENANTS_KEPT:
            kept = set(waiting)
            self._tokens = {t: n for t, n in self._tokens.items() if n > self.floor or t in kept}
