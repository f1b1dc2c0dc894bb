"""A replica's feed in simulated time: gateways hear of each other's requests there a moment later."""

from collections import deque
from typing import Literal, NamedTuple

from cluster.simulator.request import SimulatedRequest

DELAY_MS = 25.0

What = Literal["began", "first token", "ended"]


class Event(NamedTuple):
    """Something that happened to a request, told from `told_ms` on. `hit_tokens` is what its gateway expected."""

    told_ms: float
    what: What
    request: SimulatedRequest
    hit_tokens: float


class Feed:
    """Who listens gets what others tell."""

    def __init__(self) -> None:
        self._untold: dict[str, deque[Event]] = {}

    def listen(self, gateway: str) -> None:
        self._untold[gateway] = deque()

    def tell(self, gateway: str, what: What, request: SimulatedRequest, now_ms: float, hit_tokens: float = 0.0) -> None:
        for name, untold in self._untold.items():
            if name != gateway:
                untold.append(Event(now_ms + DELAY_MS, what, request, hit_tokens))

    def heard_by(self, gateway: str, now_ms: float) -> list[Event]:
        """What this gateway has heard since it last asked."""
        untold, heard = self._untold[gateway], []
        while untold and untold[0].told_ms <= now_ms:
            heard.append(untold.popleft())
        return heard
