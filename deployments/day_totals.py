"""Tokens of each day (UTC), tenant and model, from all who count them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from deployments.gateway.tenants.lease import Key


@dataclass(frozen=True, slots=True)
class DayCount:
    """`counted_by`: a gateway's count is its own and absolute, so that telling it twice changes nothing."""

    day: int
    key: Key
    counted_by: str
    tokens: int


SpentBefore = Callable[[int, Key], Mapping[str, int]]


class DayTotals:
    """`spent_before` tells what is known from before this process, by who counted it."""

    def __init__(self, spent_before: SpentBefore) -> None:
        self._spent_before = spent_before
        self._counts: dict[tuple[int, Key], dict[str, int]] = {}
        self._unsaved: set[tuple[int, Key, str]] = set()

    def put(self, day: int, key: Key, counted_by: str, tokens: int) -> None:
        counts = self._of(day, key)
        if counts.get(counted_by) != tokens:
            counts[counted_by] = tokens
            self._unsaved.add((day, key, counted_by))

    def total(self, day: int, key: Key) -> int:
        return sum(self._of(day, key).values())

    def take_unsaved(self) -> list[DayCount]:
        taken, self._unsaved = self._unsaved, set()
        return [
            DayCount(day, key, by, self._counts[day, key][by]) for day, key, by in taken if (day, key) in self._counts
        ]

    def forget_before(self, day: int) -> None:
        for known in [known for known in self._counts if known[0] < day]:
            del self._counts[known]

    def _of(self, day: int, key: Key) -> dict[str, int]:
        counts = self._counts.get((day, key))
        if counts is None:
            counts = self._counts[day, key] = dict(self._spent_before(day, key))
        return counts
