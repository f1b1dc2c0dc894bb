"""How much to believe of what other gateways have on a replica, when nothing has been heard from it for a while."""

from collections.abc import Iterable
from dataclasses import dataclass

PERIOD_MS = 1_000.0


@dataclass(frozen=True, slots=True)
class OthersLoad:
    """Other gateways' prefill work that waits, requests that decode, KV tokens; last heard at `heard_ms`."""

    queued_prefill_ms: float
    decoding: float
    resident_tokens: float
    heard_ms: float

    def overdue_periods(self, now_ms: float) -> float:
        return max(0.0, (now_ms - self.heard_ms - PERIOD_MS) / PERIOD_MS)

    def towards(self, mean: "OthersLoad", now_ms: float) -> "OthersLoad":
        """Half of the way to what they have elsewhere with every overdue period: neither idle nor full for long."""
        keep = 0.5 ** self.overdue_periods(now_ms)
        return OthersLoad(
            keep * self.queued_prefill_ms + (1 - keep) * mean.queued_prefill_ms,
            keep * self.decoding + (1 - keep) * mean.decoding,
            keep * self.resident_tokens + (1 - keep) * mean.resident_tokens,
            self.heard_ms,
        )


def mean_of_fresh(loads: Iterable[OthersLoad], now_ms: float) -> OthersLoad | None:
    """Over replicas that are heard of in time; None if none is."""
    fresh = [load for load in loads if not load.overdue_periods(now_ms)]
    if not fresh:
        return None
    return OthersLoad(
        sum(load.queued_prefill_ms for load in fresh) / len(fresh),
        sum(load.decoding for load in fresh) / len(fresh),
        sum(load.resident_tokens for load in fresh) / len(fresh),
        now_ms,
    )
