"""Replicas that just refused or dropped a request before a byte of answer came."""

from collections.abc import Callable

SUSPECT_FOR_S = 3.0


class Suspects:
    """Forgets each replica `SUSPECT_FOR_S` after its last offence; membership removes those that are really gone."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._until_s: dict[str, float] = {}

    def add(self, replica_id: str) -> None:
        self._until_s[replica_id] = self._now_s() + SUSPECT_FOR_S

    def now(self) -> frozenset[str]:
        if not self._until_s:
            return frozenset()
        now_s = self._now_s()
        self._until_s = {replica: until for replica, until in self._until_s.items() if until > now_s}
        return frozenset(self._until_s)
