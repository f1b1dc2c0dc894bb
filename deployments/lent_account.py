"""One tenant's limits for one model, over all gateways: what each has used and holds, and what may still be lent."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from deployments.gateway.tenants.bins import BIN_S, WINDOW_S, Bins, Moment, counts_for_s
from deployments.gateway.tenants.lease import PER_MINUTE, AccountReport, Kind, Loan, PotReport, amounts

STOCK_COMES_BACK_S = 1.0
SLOT_WAIT_S = 1.0


@dataclass(slots=True)
class GatewayClock:
    """A gateway's clock, as state knows it: `ahead_s` of its own."""

    ahead_s: float = 0.0

    def moment(self, moment: Moment) -> Moment:
        return Moment(moment.now_s + self.ahead_s, moment.day)


@dataclass(slots=True)
class Share:
    """One gateway's part of one limit."""

    clock: GatewayClock
    stock: int = 0
    used: Bins = field(default_factory=Bins)

    def forget_old(self, kind: Kind, moment: Moment) -> None:
        self.used.forget_before(self.clock.moment(moment).first_of(kind))


class LentLimit:
    """`limit` of one kind. `used_elsewhere` of a day is counted apart, and told when asked for.

    Where more was used than the limit allows, because an answer was longer than expected or while state was away, that
    is made good: every second of it takes a sixtieth away from the minute that follows. So the mean is the limit.
    """

    def __init__(self, kind: Kind, limit: int, moment: Moment) -> None:
        self.kind = kind
        self.limit = limit
        self.shares: dict[str, Share] = {}
        self._made_good = Bins()
        self._owed = 0.0
        self._excess_until_s = moment.now_s

    def set_limit(self, limit: int, moment: Moment) -> None:
        """What was allowed before is not held against the tenant."""
        if limit < self.limit:
            self._excess_until_s = moment.now_s + WINDOW_S
        self.limit = limit

    def free(self, moment: Moment, counted_apart: int) -> int:
        for share in self.shares.values():
            share.forget_old(self.kind, moment)
        self._made_good.forget_before(moment.first_of(self.kind))
        taken = sum(share.used.total + share.stock for share in self.shares.values())
        return self.limit - taken - self._made_good.total - counted_apart

    def pass_time(self, moment: Moment) -> None:
        """Until now, nothing new was heard."""
        if self.kind not in PER_MINUTE:
            return
        while self._excess_until_s + BIN_S <= moment.now_s:
            at = Moment(self._excess_until_s + BIN_S, moment.day)
            excess = -self.free(at, 0)
            if excess <= 0:
                self._excess_until_s = moment.now_s
                return
            self._owed += excess * BIN_S / WINDOW_S
            whole = math.floor(self._owed)
            self._made_good.add(at.bin_of(self.kind), whole)
            self._owed -= whole
            self._excess_until_s = at.now_s

    def hear(self, gateway: str, told: PotReport, clock: GatewayClock) -> None:
        share = self.shares.get(gateway)
        if share is None:
            share = self.shares[gateway] = Share(clock)
        share.stock = told.stock
        if self.kind is not Kind.DAY:
            share.used.put(told.used)

    def lend(self, gateway: str, told: PotReport, gateways: int, moment: Moment, counted_apart: int) -> Loan:
        """What is needed, if the first that waits gets all; in advance no more than half of what is left over all."""
        free = max(0, self.free(moment, counted_apart))
        granted = min(told.need, free) if free >= told.first else 0
        wait_s = self._wait_s(gateway, told.first - free, moment) if told.first > free else 0.0
        ahead = (free - granted) // (2 * gateways)
        granted += min(told.advance, ahead)
        self.shares[gateway].stock += granted
        left = free - granted
        unused = left + sum(share.stock for share in self.shares.values())
        return Loan(granted, left, unused, ahead, wait_s, self._full_in_s(moment))

    def bury(self, gateway: str, last_heard: Moment) -> None:
        """The gateway is gone: its slots are free, and what it held of a minute may have been used."""
        share = self.shares.get(gateway)
        if share is None:
            return
        if self.kind in PER_MINUTE and share.stock:
            share.used.add(share.clock.moment(last_heard).bin_of(self.kind), share.stock)
        share.stock = 0
        if self.kind not in PER_MINUTE:
            del self.shares[gateway]

    def is_empty(self, moment: Moment) -> bool:
        self.pass_time(moment)
        self.free(moment, 0)
        for gateway in [name for name, share in self.shares.items() if not share.stock and not share.used.total]:
            del self.shares[gateway]
        return not self.shares and not self._made_good.total

    def _wait_s(self, gateway: str, missing: int, moment: Moment) -> float:
        """Until as much counts no more, or may have come back from other gateways."""
        if self.kind is Kind.SLOTS:
            return SLOT_WAIT_S
        if missing <= sum(share.stock for name, share in self.shares.items() if name != gateway):
            return STOCK_COMES_BACK_S
        for wait_s, amount in sorted(self._ends(moment)):
            missing -= amount
            if missing <= 0:
                return wait_s
        return WINDOW_S

    def _full_in_s(self, moment: Moment) -> float:
        """By the newest of each gateway's uses."""
        if self.kind not in PER_MINUTE:
            return 0.0
        last = [
            counts_for_s(share.used.last(), share.clock.moment(moment).now_s)
            for share in self.shares.values()
            if share.used.total
        ]
        return max(last, default=0.0)

    def _ends(self, moment: Moment) -> Iterator[tuple[float, int]]:
        """When what was used of a limit per minute counts no more."""
        if self.kind in PER_MINUTE:
            for share in self.shares.values():
                its_s = share.clock.moment(moment).now_s
                yield from ((counts_for_s(index, its_s), amount) for index, amount in share.used.items() if amount)
            yield from ((counts_for_s(index, moment.now_s), amount) for index, amount in self._made_good.items())


class LentAccount:
    def __init__(self) -> None:
        self.limits: dict[Kind, LentLimit] = {}
        self._since_s = -math.inf

    def hear(self, gateway: str, told: AccountReport, clock: GatewayClock, moment: Moment) -> None:
        for limit in self.limits.values():
            limit.pass_time(moment)
        if told.since_s > self._since_s:
            self._since_s = told.since_s
            self._set_limits(amounts(told.limits), moment)
        for kind, pot in told.pots.items():
            if kind in self.limits:
                self.limits[kind].hear(gateway, pot, clock)

    def _set_limits(self, of_kind: Mapping[Kind, int], moment: Moment) -> None:
        for kind in self.limits.keys() - of_kind.keys():
            del self.limits[kind]
        for kind, limit in of_kind.items():
            known = self.limits.get(kind)
            if known is None:
                self.limits[kind] = LentLimit(kind, limit, moment)
            else:
                known.set_limit(limit, moment)

    def bury(self, gateway: str, last_heard: Moment) -> None:
        for limit in self.limits.values():
            limit.bury(gateway, last_heard)

    def drop(self, gateway: str) -> None:
        """It is about to tell all anew."""
        for limit in self.limits.values():
            limit.shares.pop(gateway, None)

    def is_empty(self, moment: Moment) -> bool:
        return all(limit.is_empty(moment) for limit in self.limits.values())
