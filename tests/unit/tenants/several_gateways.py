"""Several gateways' limits and the state that lends to them, on a clock that the test moves."""

from dataclasses import dataclass, field

from deployments.day_totals import DayCount
from deployments.gateway.tenants.account import Account, Charge, Cost, Standing
from deployments.gateway.tenants.bins import Moment
from deployments.gateway.tenants.lease import Key
from deployments.gateway.tenants.spending import Spending
from deployments.gateway.tenants.tenant import Limits, Tenant
from deployments.lender import LISTENS_S, Lender

MODEL = "m"
KEY = ("acme", MODEL)
MIDNIGHT_S = 86_400.0


@dataclass(frozen=True)
class Use:
    """A request that was let in: when, for how many tokens, and at which gateway."""

    at_s: float
    gateway: int
    charge: Charge


class Site:
    """`limits` of one tenant for one model."""

    def __init__(self, gateways: int, limits: Limits, now_s: float = 1_000.0) -> None:
        self.now_s = now_s
        self.limits = limits
        self.saved: dict[tuple[int, Key], dict[str, int]] = {}
        self.restart_state()
        self.names = 0
        self.gateways = [self._gateway(offset_s=17.3 * number) for number in range(gateways)]
        self.pass_time(LISTENS_S)

    def moment(self) -> Moment:
        return Moment(self.now_s, int(self.now_s // MIDNIGHT_S))

    def _gateway(self, offset_s: float) -> Spending:
        """Its clock is its own."""
        self.names += 1
        return Spending(f"g{self.names}", lambda: Moment(self.now_s + offset_s, self.moment().day))

    def replace(self, gateway: int) -> None:
        """It is killed, and another starts."""
        self.gateways[gateway] = self._gateway(offset_s=3.1 * self.names)

    def restart_state(self) -> None:
        self.lender = Lender(f"state at {self.now_s}", self.moment(), lambda day, key: self.saved.get((day, key), {}))

    def save(self) -> None:
        for count in self.lender.days.take_unsaved():
            self._keep(count)

    def _keep(self, count: DayCount) -> None:
        self.saved.setdefault((count.day, count.key), {})[count.counted_by] = count.tokens

    def account(self, gateway: int) -> Account:
        return self.gateways[gateway].account(Tenant("acme", self.limits), MODEL)

    def standing(self, gateway: int) -> Standing:
        return self.gateways[gateway].standing

    def is_stranger(self, gateway: int) -> bool:
        """State is away, and this gateway does not know what others have used: it lends an equal part of the whole."""
        spending = self.gateways[gateway]
        return KEY not in spending._accounts and spending.standing.state_is_away

    def try_to_enter(self, gateway: int, tokens: int) -> Charge | None:
        """With what the gateway has, or what state lends when asked at once."""
        account, cost = self.account(gateway), Cost(0, tokens)
        if account.lacking(cost, self.standing(gateway)) is None:
            return account.charge(cost)
        if self.standing(gateway).state_is_away:
            return None
        waiter = account.wait(cost, lambda: None)
        self.exchange(gateway)
        account.stop_waiting(waiter)
        return waiter.charge

    def exchange(self, gateway: int, *, heard: bool = True, answered: bool = True) -> None:
        """A report and its reply, either of which may be lost."""
        spending = self.gateways[gateway]
        for _ in range(2):
            report = spending.report(is_heartbeat=True)
            assert report is not None
            reply = self.lender.exchange(report, self.moment()) if heard else None
            if reply is None or not answered:
                spending.went_unanswered(report)
                return
            spending.adopt(report, reply)
            if not reply.must_resend:
                return

    def exchange_all(self) -> None:
        for gateway in range(len(self.gateways)):
            self.exchange(gateway)

    def pass_time(self, seconds: float, step_s: float = 0.5) -> None:
        """With the reports that belong to it."""
        end_s = self.now_s + seconds
        while self.now_s < end_s - 1e-9:
            self.now_s = min(end_s, self.now_s + step_s)
            self.exchange_all()


@dataclass
class Log:
    """What was used when, to hold it against the limit."""

    amounts: list[tuple[float, int]] = field(default_factory=list)

    def add(self, at_s: float, amount: int) -> None:
        self.amounts.append((at_s, amount))

    def in_the_worst_minute(self) -> int:
        """Of all spans of sixty seconds, the one with most."""
        most = total = first = 0
        for at_s, amount in self.amounts:
            total += amount
            while self.amounts[first][0] <= at_s - 60:
                total -= self.amounts[first][1]
                first += 1
            most = max(most, total)
        return most
