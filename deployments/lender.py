"""State lends, gateways spend: limits that hold over all gateways, from the last word of each of them."""

from dataclasses import dataclass, field

from deployments.day_totals import DayTotals, SpentBefore
from deployments.gateway.tenants.bins import Moment
from deployments.gateway.tenants.lease import AccountReport, Key, Kind, Loan, Reply, Report
from deployments.lent_account import GatewayClock, LentAccount

LISTENS_S = 2.0
SILENT_IS_DEAD_S = 5.0


@dataclass(slots=True)
class Borrowing:
    """One gateway, as it was last heard."""

    number: int
    heard: Moment
    clock: GatewayClock = field(default_factory=GatewayClock)
    keys: set[Key] = field(default_factory=set)


class Lender:
    """Time is passed in. After its begin it listens for a while, until every gateway has told what it used before.

    A gateway that was silent for five seconds is dead. What it held per minute counts as used when it was last heard.
    """

    def __init__(self, epoch: str, began: Moment, spent_before: SpentBefore) -> None:
        self._epoch = epoch
        self._began = began
        self._accounts: dict[Key, LentAccount] = {}
        self._gateways: dict[str, Borrowing] = {}
        self.days = DayTotals(spent_before)

    def exchange(self, report: Report, moment: Moment) -> Reply:
        self._bury_silent(moment)
        known = self._gateways.get(report.gateway_id)
        if not report.is_full and (known is None or report.epoch != self._epoch):
            return Reply(self._epoch, must_resend=True)
        if known is not None and report.number <= known.number:
            return Reply(self._epoch)
        gateway = self._hear(report, known, moment)
        names = sorted(self._gateways)
        is_lending = moment.now_s - self._began.now_s >= LISTENS_S
        loans = (
            {key: self._lend(report.gateway_id, key, told, len(names), moment) for key, told in report.accounts.items()}
            if is_lending
            else {}
        )
        gateway.heard = moment
        return Reply(self._epoch, False, is_lending, len(names), names.index(report.gateway_id), loans)

    def account(self, key: Key) -> LentAccount | None:
        return self._accounts.get(key)

    def spent_today(self, key: Key, moment: Moment) -> int:
        return self.days.total(moment.day, key)

    def forget_empty(self, moment: Moment) -> None:
        """Accounts of which nothing counts any more."""
        for key in [key for key, account in self._accounts.items() if account.is_empty(moment)]:
            del self._accounts[key]
            for gateway in self._gateways.values():
                gateway.keys.discard(key)
        self.days.forget_before(moment.day)

    def _hear(self, report: Report, known: Borrowing | None, moment: Moment) -> Borrowing:
        gateway = self._gateways[report.gateway_id] = known or Borrowing(report.number, moment)
        gateway.number = report.number
        gateway.clock.ahead_s = report.now_s - moment.now_s
        if report.is_full:
            for key in gateway.keys | (report.accounts.keys() & self._accounts.keys()):
                self._accounts[key].drop(report.gateway_id)
            gateway.keys.clear()
        for key, told in report.accounts.items():
            gateway.keys.add(key)
            account = self._accounts.setdefault(key, LentAccount())
            account.hear(report.gateway_id, told, gateway.clock, moment)
            day = told.pots.get(Kind.DAY)
            for of_day, tokens in day.used.items() if day else ():
                self.days.put(of_day, key, f"{report.gateway_id}/{told.generation}", tokens)
        return gateway

    def _lend(self, name: str, key: Key, told: AccountReport, gateways: int, moment: Moment) -> dict[Kind, Loan]:
        limits = self._accounts[key].limits
        return {
            kind: limits[kind].lend(name, pot, gateways, moment, self._counted_apart(kind, key, moment))
            for kind, pot in told.pots.items()
            if kind in limits
        }

    def _counted_apart(self, kind: Kind, key: Key, moment: Moment) -> int:
        return self.days.total(moment.day, key) if kind is Kind.DAY else 0

    def _bury_silent(self, moment: Moment) -> None:
        for name, gateway in list(self._gateways.items()):
            if moment.now_s - gateway.heard.now_s > SILENT_IS_DEAD_S:
                for key in gateway.keys:
                    self._accounts[key].bury(name, gateway.heard)
                del self._gateways[name]
