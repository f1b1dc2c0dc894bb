"""What one tenant does with one model at one gateway: what it has used, holds, and waits for."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from deployments.gateway.tenants.bins import Moment
from deployments.gateway.tenants.expected_output import ExpectedOutput
from deployments.gateway.tenants.lease import AccountReport, Key, Kind, Loan, amounts
from deployments.gateway.tenants.pot import Pot
from deployments.gateway.tenants.tenant import Limits

GOES_ON = 4
LOOK_PERIOD_S = 0.5
TOKEN_KINDS = (Kind.TOKENS, Kind.DAY)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a request takes before it is known: `tokens` with the answer that is expected."""

    prompt_tokens: int
    tokens: int

    def of(self, kind: Kind) -> int:
        return self.tokens if kind in TOKEN_KINDS else 1


@dataclass(frozen=True, slots=True)
class Standing:
    """This gateway among those that borrow from state; `gateways` is 0 if state was never heard."""

    gateways: int = 0
    rank: int = 0
    state_is_away: bool = True

    def share(self, amount: int) -> int:
        """The shares of all gateways are the amount."""
        return amount // self.gateways + (self.rank < amount % self.gateways) if self.gateways else 0


@dataclass(eq=False, slots=True)
class Waiter:
    """A request that waits for state. `asked_in`: the first report that told of it. No `charge`: it may not enter."""

    cost: Cost
    decided: Callable[[], None]
    asked_in: int | None = None
    charge: "Charge | None" = None

    def is_answered(self, number: int) -> bool:
        """By the reply to this report."""
        return self.asked_in is not None and number >= self.asked_in


class Account:
    """`generation` tells its count of a day from that of an earlier account of the same tenant and model."""

    def __init__(self, key: Key, generation: int, clock: Callable[[], Moment]) -> None:
        self.key = key
        self.clock = clock
        self.output = ExpectedOutput()
        self.pots: dict[Kind, Pot] = {}
        self.open: set[Charge] = set()
        self.waiting: deque[Waiter] = deque()
        self._settled = asyncio.Event()
        self.limits = Limits()
        self.used_at_s = clock().now_s
        self._since_s = 0.0
        self._looked_at_s = self.used_at_s
        self._generation = generation
        self._limits_are_news = True

    def set_limits(self, limits: Limits, since_s: float, standing: Standing) -> None:
        """What was used counts against the new limits."""
        self.limits, self._since_s, self._limits_are_news = limits, since_s, True
        of_kind, moment = amounts(limits), self.clock()
        for kind in self.pots.keys() - of_kind.keys():
            del self.pots[kind]
        for kind, limit in of_kind.items():
            pot = self.pots.get(kind)
            if pot is None:
                pot = self.pots[kind] = Pot(kind, limit, standing.share(limit), moment)
                if kind is Kind.SLOTS:
                    pot.start_with(len(self.open))
            pot.limit = limit

    def lacking(self, cost: Cost, standing: Standing) -> Pot | None:
        """The first limit that the request would exceed."""
        moment, away = self.clock(), standing.state_is_away
        return next((p for p in self.pots.values() if not p.has(cost.of(p.kind), moment, state_is_away=away)), None)

    def known_to_lack(self, cost: Cost) -> Pot | None:
        moment = self.clock()
        return next((p for p in self.pots.values() if p.is_known_to_lack(cost.of(p.kind), moment)), None)

    def charge(self, cost: Cost) -> "Charge":
        moment = self.clock()
        self.used_at_s = moment.now_s
        bins = {kind: pot.use(cost.of(kind), moment) for kind, pot in self.pots.items()}
        charge = Charge(self, cost, bins)
        self.open.add(charge)
        return charge

    def wait(self, cost: Cost, decided: Callable[[], None]) -> Waiter:
        waiter = Waiter(cost, decided)
        self.waiting.append(waiter)
        return waiter

    def stop_waiting(self, waiter: Waiter) -> None:
        if waiter in self.waiting:
            self.waiting.remove(waiter)

    def overdraw(self, tokens: int) -> dict[Kind, int]:
        """An answer is longer than was expected; the bins that this is in."""
        moment = self.clock()
        return {kind: self.pots[kind].overdraw(tokens, moment) for kind in TOKEN_KINDS if kind in self.pots}

    def settle(self, charge: "Charge", tokens: int) -> None:
        """What it took is `tokens`, and its slot is free."""
        moment = self.clock()
        self.open.remove(charge)
        slots = self.pots.get(Kind.SLOTS)
        if slots is not None:
            slots.give_back(0, 1, moment)
        for kind in TOKEN_KINDS:
            pot = self.pots.get(kind)
            if pot is None or kind not in charge.bins:
                continue
            if tokens <= charge.tokens:
                pot.give_back(charge.bins[kind], charge.tokens - tokens, moment)
            else:
                pot.overdraw(tokens - charge.tokens, moment)
        if tokens:
            self.output.saw(max(0, tokens - charge.prompt_tokens))
        self._settled.set()

    async def settled_within(self, seconds: float) -> None:
        """Until a request has ended here, but no longer: one may have ended elsewhere."""
        self._settled.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._settled.wait()

    def has_news(self) -> bool:
        return self._limits_are_news or bool(self.waiting) or any(pot.has_news() for pot in self.pots.values())

    def is_idle(self) -> bool:
        """What was used of a day counts on, but says nothing new."""
        if self.open or self.waiting or self.has_news():
            return False
        return not any(pot.stock or (pot.used.total and pot.kind is not Kind.DAY) for pot in self.pots.values())

    def report(self, number: int, *, is_full: bool) -> AccountReport:
        moment = self.clock()
        self._look_at_open(moment)
        for waiter in self.waiting:
            waiter.asked_in = waiter.asked_in or number
        pots = {
            kind: pot.report([waiter.cost.of(kind) for waiter in self.waiting], moment, is_full=is_full)
            for kind, pot in self.pots.items()
        }
        return AccountReport(self.limits, self._since_s, self._generation, pots)

    def _look_at_open(self, moment: Moment) -> None:
        if moment.now_s - self._looked_at_s >= LOOK_PERIOD_S and any(kind in self.pots for kind in TOKEN_KINDS):
            self._looked_at_s = moment.now_s
            for charge in self.open:
                charge.look()

    def adopt(self, told: AccountReport, loans: Mapping[Kind, Loan], standing: Standing) -> None:
        self._limits_are_news = told.limits != self.limits
        moment = self.clock()
        for kind, loan in loans.items():
            pot = self.pots.get(kind)
            if pot is not None and kind in told.pots:
                pot.adopt(told.pots[kind], loan, standing.share(loan.left), moment)

    def was_not_told(self) -> None:
        for pot in self.pots.values():
            pot.was_not_told()

    def serve_waiting(self, standing: Standing, answered: int) -> None:
        """Let in who now may; refuse who asked in a report that is answered, or all while state is away."""
        for waiter in list(self.waiting):
            if self.lacking(waiter.cost, standing) is None:
                waiter.charge = self.charge(waiter.cost)
            elif not standing.state_is_away and not waiter.is_answered(answered):
                continue
            self.waiting.remove(waiter)
            waiter.decided()


class Charge:
    """What a request was let in for. `settle` once, when it has ended, whatever way.

    `delivered` tells the tokens so far, of a request that runs. One that goes beyond what was expected is charged
    for a quarter more than it has; what is too much comes back at its end.
    """

    __slots__ = ("_account", "bins", "delivered", "prompt_tokens", "tokens")

    def __init__(self, account: Account, cost: Cost, bins: Mapping[Kind, int]) -> None:
        self._account: Account | None = account
        self.tokens = cost.tokens
        self.prompt_tokens = cost.prompt_tokens
        self.bins: Mapping[Kind, int] = bins
        self.delivered: Callable[[], int] | None = None

    def look(self) -> None:
        so_far = self.delivered() if self.delivered is not None else 0
        if self._account is not None and so_far > self.tokens:
            more = so_far - self.tokens + (so_far - self.prompt_tokens) // GOES_ON
            self.bins = self._account.overdraw(more)
            self.tokens += more

    def settle(self, tokens: int) -> None:
        """`tokens` of the prompt and the answer, as the engine says or as they were delivered; 0 if none were.

        A second time changes nothing.
        """
        account, self._account = self._account, None
        if account is not None:
            account.settle(self, tokens)
