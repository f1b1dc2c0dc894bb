"""One limit at one gateway: what state has lent and is not used yet, and what was used when."""

import math

from deployments.gateway.tenants.bins import WINDOW_S, Bins, Moment
from deployments.gateway.tenants.lease import Kind, Loan, PotReport

AHEAD_S = 0.5
PACE_MEMORY_S = 1.0
STAYS_READY_S = 10.0
REFUSAL_HOLDS_S = 0.25


class Pot:
    """`allowance`: what this gateway may have used at any time while state is away: what it used and held when state
    was last heard, and its share of what was left.
    """

    def __init__(self, kind: Kind, limit: int, allowance: int, moment: Moment) -> None:
        self.kind = kind
        self.limit = limit
        self.allowance = allowance
        self.stock = 0
        self.used = Bins()
        self._unused = limit
        self.full_at_s = 0.0
        self._untold: set[int] = set()
        self._told_stock: int | None = 0
        self._spent = 0
        self._typical = 0
        self._ahead = 0
        self._spent_at_s = -math.inf
        self._pace_per_s = 0.0
        self._paced_at_s = moment.now_s
        self._refused = math.inf
        self._refused_at_s = -math.inf
        self._wait_until_s = 0.0

    def has(self, amount: int, moment: Moment, *, state_is_away: bool) -> bool:
        if not state_is_away:
            return self.stock >= amount
        self.used.forget_before(moment.first_of(self.kind))
        return self.used.total + amount <= self.allowance

    def is_known_to_lack(self, amount: int, moment: Moment) -> bool:
        """State has said so a moment ago."""
        return amount >= self._refused and moment.now_s - self._refused_at_s < REFUSAL_HOLDS_S

    def wait_s(self, moment: Moment) -> float:
        """Until what state refused last may be there."""
        return max(0.0, self._wait_until_s - moment.now_s)

    def remaining(self) -> int:
        """Over all gateways, as far as known."""
        return max(0, min(self.limit, self._unused))

    def use(self, amount: int, moment: Moment) -> int:
        """The bin that it is in."""
        self._spent += amount
        self.full_at_s = moment.now_s + WINDOW_S
        self._typical, self._spent_at_s = amount, moment.now_s
        return self._move(moment.bin_of(self.kind), amount)

    def give_back(self, bin_index: int, amount: int, moment: Moment) -> None:
        """Of what was used then. What counts no more cannot be used again."""
        if bin_index >= moment.first_of(self.kind):
            self._move(bin_index, -min(amount, self.used[bin_index]))

    def overdraw(self, amount: int, moment: Moment) -> int:
        """Used already, whether or not it was there. The bin that it is in."""
        return self._move(moment.bin_of(self.kind), amount)

    def _move(self, bin_index: int, amount: int) -> int:
        self.stock -= amount
        self._unused -= amount
        self.used.add(bin_index, amount)
        self._untold.add(bin_index)
        return bin_index

    def start_with(self, in_use: int) -> None:
        """Slots that were taken before there was a limit to them."""
        if in_use:
            self._move(0, in_use)

    def report(self, needs: list[int], moment: Moment, *, is_full: bool) -> PotReport:
        """`needs` of the requests that wait. Stock that will not be needed soon is no longer there."""
        first = moment.first_of(self.kind)
        self.used.forget_before(first)
        self._untold = {index for index in self._untold if index >= first}
        self.stock = max(0, self.stock)
        needed, keep = sum(needs), self._wanted_soon(moment)
        self.stock = min(self.stock, needed + keep)
        told = self.used if is_full else self._untold
        return PotReport(
            self.stock,
            {index: self.used[index] for index in told},
            max(0, needed - self.stock),
            max(0, needs[0] - self.stock) if needs else 0,
            max(0, keep - max(0, self.stock - needed)),
        )

    def _wanted_soon(self, moment: Moment) -> int:
        passed_s = moment.now_s - self._paced_at_s
        if passed_s > 0:
            weight = 1 - math.exp(-passed_s / PACE_MEMORY_S)
            self._pace_per_s += weight * (self._spent / passed_s - self._pace_per_s)
            self._spent, self._paced_at_s = 0, moment.now_s
        is_busy = moment.now_s - self._spent_at_s < STAYS_READY_S
        return min(self._ahead, max(round(self._pace_per_s * AHEAD_S), self._typical if is_busy else 0))

    def has_news(self) -> bool:
        return bool(self._untold) or self.stock != self._told_stock or self.stock > self._ahead

    def was_not_told(self) -> None:
        """Nobody knows whether state has heard the last report."""
        self._told_stock = None

    def adopt(self, told: PotReport, loan: Loan, share: int, moment: Moment) -> None:
        """What state answered to the report `told`; `share`: this gateway's part of what is left."""
        self._untold = {index for index in self._untold if self.used[index] != told.used.get(index)}
        self.stock += loan.granted
        self._told_stock = told.stock + loan.granted
        self._unused = loan.unused + self.stock - self._told_stock
        self._ahead = loan.ahead
        self.full_at_s = max(self.full_at_s, moment.now_s + loan.full_in_s)
        self.used.forget_before(moment.first_of(self.kind))
        self.allowance = self.used.total + max(0, self.stock) + share
        if told.first and not loan.granted:
            self._refused, self._refused_at_s = told.first + told.stock, moment.now_s
            self._wait_until_s = moment.now_s + loan.wait_s
            self._unused = loan.left
        elif loan.granted:
            self._refused = math.inf
