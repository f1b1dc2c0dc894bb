"""Who asked for how much of late, so that the busy leave room for the others. It takes a few dictionary lookups."""

from typing import Literal

WINDOW_MS = 30_000.0
MUCH = 2.0

Standing = Literal["alike", "busy", "favoured"]


class RecentShares:
    """Tokens that each tenant asked for of one model at one gateway in this half minute and the one before it."""

    def __init__(self) -> None:
        self._now: dict[str, float] = {}
        self._before: dict[str, float] = {}
        self._total = 0.0
        self._tenants = 0
        self._began_ms = 0.0

    def asked(self, tenant: str, tokens: float, now_ms: float) -> None:
        self._turn_window(now_ms)
        if tenant not in self._now:
            self._tenants += tenant not in self._before
            self._now[tenant] = 0.0
        self._now[tenant] += tokens
        self._total += tokens

    def of(self, tenant: str) -> float:
        return self._now.get(tenant, 0.0) + self._before.get(tenant, 0.0)

    def standing(self, tenant: str) -> Standing:
        """Busy: it asked for more than twice what the others did on average; favoured: for less than half of that."""
        others = self._tenants - (tenant in self._now or tenant in self._before)
        if not others:
            return "alike"
        own = self.of(tenant)
        mean = (self._total - own) / others
        if own > MUCH * mean:
            return "busy"
        return "favoured" if MUCH * own < mean else "alike"

    def _turn_window(self, now_ms: float) -> None:
        elapsed_ms = now_ms - self._began_ms
        if elapsed_ms < WINDOW_MS:
            return
        self._before = self._now if elapsed_ms < 2 * WINDOW_MS else {}
        self._now, self._began_ms = {}, now_ms
        self._tenants, self._total = len(self._before), sum(self._before.values())
