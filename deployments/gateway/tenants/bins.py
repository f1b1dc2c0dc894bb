"""Amounts by the time of their use, and their sum for as long as they count.

A use counts against a limit per minute for a minute and up to half a second; a slot until it is given back; a day's
until its end (UTC).
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from deployments.gateway.tenants.lease import PER_MINUTE, Kind

BIN_S = 0.5
WINDOW_S = 60.0
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Moment:
    """`now_s`: of a clock that never jumps. `day`: days since 1970, UTC."""

    now_s: float
    day: int

    def bin_of(self, kind: Kind) -> int:
        """Where a use of now belongs."""
        if kind in PER_MINUTE:
            return math.floor(self.now_s / BIN_S)
        return self.day if kind is Kind.DAY else 0

    def first_of(self, kind: Kind) -> int:
        """The oldest bin that counts."""
        if kind in PER_MINUTE:
            return math.floor((self.now_s - WINDOW_S) / BIN_S)
        return self.day if kind is Kind.DAY else 0


def counts_for_s(bin_index: int, now_s: float) -> float:
    """Of a bin of a limit per minute: until it counts no more."""
    return max(0.0, (bin_index + 1) * BIN_S + WINDOW_S - now_s)


class Bins:
    __slots__ = ("_amounts", "total")

    def __init__(self) -> None:
        self._amounts: dict[int, int] = {}
        self.total = 0

    def __getitem__(self, index: int) -> int:
        return self._amounts.get(index, 0)

    def items(self) -> Iterable[tuple[int, int]]:
        return self._amounts.items()

    def __iter__(self) -> Iterator[int]:
        return iter(self._amounts)

    def last(self) -> int:
        """The newest; there is one."""
        return next(reversed(self._amounts))

    def add(self, index: int, amount: int) -> None:
        self._amounts[index] = self._amounts.get(index, 0) + amount
        self.total += amount

    def put(self, amounts: Mapping[int, int]) -> None:
        """What the amounts at these times are, whatever they were."""
        for index, amount in sorted(amounts.items()):
            self.add(index, amount - self._amounts.get(index, 0))

    def forget_before(self, first: int) -> None:
        """Those that count no more; amounts are added in the order of time, so they stand first."""
        while self._amounts:
            index = next(iter(self._amounts))
            if index >= first:
                return
            self.total -= self._amounts.pop(index)
