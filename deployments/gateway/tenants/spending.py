"""May this tenant send one more request? Limits as one gateway holds them, lent by state to all gateways."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator

from deployments.gateway.errors import GatewayError
from deployments.gateway.recipient import Headers
from deployments.gateway.tenants.account import Account, Charge, Cost, Standing
from deployments.gateway.tenants.bins import DAY_S, Moment
from deployments.gateway.tenants.lease import Key, Kind, Reply, Report
from deployments.gateway.tenants.pot import REFUSAL_HOLDS_S, Pot
from deployments.gateway.tenants.refusals import (
    limits_unknown,
    never_fits,
    nothing_allowed,
    over_limit,
    rate_headers,
    retry_after_s,
)
from deployments.gateway.tenants.tenant import Limits, Tenant

WAIT_FOR_STATE_S = 0.7
OUTPUT_SHARE = 4
FORGET_IDLE_S = 600.0
UNLIMITED = Limits()
LIMIT_NAMES = {
    Kind.REQUESTS: "requests_per_minute",
    Kind.TOKENS: "tokens_per_minute",
    Kind.SLOTS: "concurrent_requests",
    Kind.DAY: "tokens_per_day",
}


def system_moment() -> Moment:
    return Moment(time.monotonic(), int(time.time()) // DAY_S)


class Spending:
    """All accounts of one gateway. `borrower.py` carries its reports to state and the replies back.

    `wanted` is set while a request waits for state, `used` once some tenant has limits. Accounts that have nothing to
    tell cost nothing: only those awake are looked at. `limited`: requests answered with 429, by model and limit.
    """

    def __init__(self, gateway_id: str, clock: Callable[[], Moment] = system_moment) -> None:
        self.gateway_id = gateway_id
        self._clock = clock
        self._accounts: dict[Key, Account] = {}
        self._awake: dict[Key, Account] = {}
        self._tidied_s = clock().now_s
        self.standing = Standing()
        self._epoch = ""
        self._tells_all = True
        self._reports = 0
        self._generations = 0
        self.wanted = asyncio.Event()
        self.used = asyncio.Event()
        self.limited: Counter[tuple[str, str]] = Counter()

    def moment(self) -> Moment:
        return self._clock()

    async def let_in(
        self,
        tenant: Tenant,
        model: str,
        prompt_tokens: int,
        output_at_most: int | None,
        also: Headers,
        may_wait: Callable[[], bool] = lambda: False,
    ) -> Charge:
        """Of a tenant that has limits; waits for state where nothing is held for it here, though not for long.

        `also` gets the headers that the answer has, whatever it is. `may_wait`: for a slot that others of the tenant
        have, as long as this is true.

        Raises:
            GatewayError: 429 now, 403 never, 400 not in this size; 503 if state was never heard.
        """
        account = self.account(tenant, model)
        for pot in account.pots.values():
            if not pot.limit:
                raise nothing_allowed(tenant.name, model, pot.kind)
            if pot.kind in (Kind.TOKENS, Kind.DAY) and prompt_tokens > pot.limit:
                raise never_fits(tenant.name, model, pot, prompt_tokens)
        cost = Cost(prompt_tokens, self._tokens(account, prompt_tokens, output_at_most))
        try:
            return await self._charge(account, cost, may_wait)
        finally:
            also += rate_headers(account.pots, self._clock())

    async def _charge(self, account: Account, cost: Cost, may_wait: Callable[[], bool]) -> Charge:
        while (lacking := account.lacking(cost, self.standing)) is not None:
            known = account.known_to_lack(cost)
            if known is None and (charge := await self._wait(account, cost)) is not None:
                return charge
            if not self.standing.gateways:
                raise limits_unknown()
            pot = known or account.lacking(cost, self.standing) or lacking
            if pot.kind is not Kind.SLOTS or not may_wait():
                raise self._over(account, pot, cost)
            await account.settled_within(REFUSAL_HOLDS_S)
        return account.charge(cost)

    def _over(self, account: Account, pot: Pot, cost: Cost) -> GatewayError:
        self.limited[account.key[1], LIMIT_NAMES[pot.kind]] += 1
        return over_limit(*account.key, pot, cost.tokens, retry_after_s(pot, self._clock(), time.time()))

    def account(self, tenant: Tenant, model: str) -> Account:
        key = (tenant.name, model)
        account = self._accounts.get(key)
        if account is None:
            self._generations += 1
            account = self._accounts[key] = Account(key, self._generations, self._clock)
        if account.limits is not tenant.limits and account.limits != tenant.limits:
            account.set_limits(tenant.limits, time.time(), self.standing)
        self._awake[key] = account
        self.used.set()
        return account

    def know(self, tenant_named: Callable[[str], Tenant | None]) -> None:
        """Limits of tenants may have changed: what was used counts against the new ones. Of one that is gone, nothing
        changes: it asks for nothing any more.
        """
        for name, model in list(self._accounts):
            tenant = tenant_named(name)
            if tenant is not None:
                self.account(tenant, model)

    def _tokens(self, account: Account, prompt_tokens: int, output_at_most: int | None) -> int:
        """Expected of the request. No expectation keeps out for ever what may be small."""
        limits = [pot.limit for kind in (Kind.TOKENS, Kind.DAY) if (pot := account.pots.get(kind))]
        expected = account.output.tokens(output_at_most)
        return min([prompt_tokens + min([expected, *(limit // OUTPUT_SHARE for limit in limits)]), *limits])

    async def _wait(self, account: Account, cost: Cost) -> Charge | None:
        if self.standing.state_is_away and self.standing.gateways:
            return None
        decided = asyncio.Event()
        waiter = account.wait(cost, decided.set)
        self.wanted.set()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WAIT_FOR_STATE_S):
                    await decided.wait()
        except asyncio.CancelledError:
            if waiter.charge is not None:
                waiter.charge.settle(0)
            raise
        finally:
            account.stop_waiting(waiter)
        return waiter.charge

    def report(self, *, is_heartbeat: bool) -> Report | None:
        """What state should hear now: what has changed, and with a heartbeat also what is still in use."""
        is_full, moment = self._tells_all, self._clock()
        if is_heartbeat:
            self._awake = {key: account for key, account in self._awake.items() if not account.is_idle()}
        known = self._accounts if is_full else self._awake
        told = [account for account in known.values() if is_full or is_heartbeat or account.has_news()]
        self.wanted.clear()
        if not told and not is_heartbeat:
            return None
        self._reports += 1
        accounts = {account.key: account.report(self._reports, is_full=is_full) for account in told}
        return Report(self.gateway_id, self._reports, self._epoch, moment.now_s, is_full, accounts)

    def adopt(self, report: Report, reply: Reply) -> None:
        self._tells_all = reply.must_resend
        if reply.must_resend:
            self._epoch = reply.epoch
            self._not_told(report)
            self.wanted.set()
            return
        known = self.standing
        if reply.is_lending:
            self.standing = Standing(reply.gateways, reply.rank, state_is_away=False)
        else:
            self.standing = Standing(known.gateways, known.rank, state_is_away=True)
        self._epoch = reply.epoch
        for account in self._of(report):
            account.adopt(report.accounts[account.key], reply.loans.get(account.key, {}), self.standing)
        self._serve_waiting(report.number)
        self._forget_idle()

    def went_unanswered(self, report: Report) -> None:
        """State is away: gateways go on with what they had and their share of what was left."""
        self.standing = Standing(self.standing.gateways, self.standing.rank, state_is_away=True)
        self._not_told(report)
        self._serve_waiting(report.number)

    def _not_told(self, report: Report) -> None:
        for account in self._of(report):
            account.was_not_told()

    def _of(self, report: Report) -> Iterator[Account]:
        return (account for key in report.accounts if (account := self._accounts.get(key)) is not None)

    def _serve_waiting(self, answered: int) -> None:
        for account in self._awake.values():
            if account.waiting:
                account.serve_waiting(self.standing, answered)

    def _forget_idle(self) -> None:
        now_s = self._clock().now_s
        if now_s - self._tidied_s > FORGET_IDLE_S:
            self._tidied_s = now_s
            for key, account in list(self._accounts.items()):
                if now_s - account.used_at_s > FORGET_IDLE_S and account.is_idle():
                    del self._accounts[key]
