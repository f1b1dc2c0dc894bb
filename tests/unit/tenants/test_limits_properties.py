"""Whatever is lost, killed, restarted or changed: nothing is lent twice, and nothing is lost for ever.

A gateway that does not hear state goes on with its share of what was left, though state may lend that to others, which
it hears: by so much, once for each gateway that was cut off, a limit may be exceeded.
"""

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from deployments.gateway.tenants.account import Charge
from deployments.gateway.tenants.lease import Kind
from deployments.gateway.tenants.tenant import Limits
from tests.unit.tenants.several_gateways import KEY, Log, Site

REQUESTS, TOKENS, SLOTS, DAY = 7, 900, 4, 5_000
LIMITS = Limits(REQUESTS, TOKENS, SLOTS, DAY)
GATEWAYS = 3

gateways = st.integers(0, GATEWAYS - 1)


class Lending(RuleBasedStateMachine):
    """State stays, messages get lost, gateways are killed. No answer is longer than was expected."""

    charges = Bundle("charges")

    @initialize()
    def begin(self) -> None:
        self.site = Site(GATEWAYS, LIMITS)
        self.requests = Log()
        self.open: dict[Charge, tuple[str, float, int]] = {}
        self.used: list[tuple[float, int]] = []
        self.cut_off: set[str] = set()

    def name(self, gateway: int) -> str:
        return self.site.gateways[gateway].gateway_id

    @rule(target=charges, gateway=gateways, tokens=st.integers(1, TOKENS))
    def enter(self, gateway: int, tokens: int) -> Charge | None:
        charge = self.site.try_to_enter(gateway, tokens)
        if charge is not None:
            self.requests.add(self.site.now_s, 1)
            self.open[charge] = (self.name(gateway), self.site.now_s, tokens)
        return charge

    @rule(charge=consumes(charges), part=st.floats(0, 1))
    def end(self, charge: Charge | None, part: float) -> None:
        if charge is not None and charge in self.open:
            _, began_s, tokens = self.open.pop(charge)
            self.used.append((began_s, int(part * tokens)))
            charge.settle(int(part * tokens))
            charge.settle(0)

    @rule(gateway=gateways, heard=st.booleans(), answered=st.booleans())
    def report(self, gateway: int, heard: bool, answered: bool) -> None:
        if not (heard and answered):
            self.cut_off.add(self.name(gateway))
        self.site.exchange(gateway, heard=heard, answered=answered)

    @rule(seconds=st.sampled_from([0.1, 0.5, 2.0, 4.0]))
    def wait(self, seconds: float) -> None:
        self.site.pass_time(seconds)

    @rule(gateway=gateways)
    def kill(self, gateway: int) -> None:
        """Its requests end with it, and another takes its place once state knows that it is dead."""
        name = self.name(gateway)
        for charge in [charge for charge, (owner, _, _) in self.open.items() if owner == name]:
            _, began_s, tokens = self.open.pop(charge)
            self.used.append((began_s, tokens))
        self.site.replace(gateway)

    @invariant()
    def no_limit_is_exceeded(self) -> None:
        now_s = self.site.now_s
        assert self.requests.in_the_worst_minute() <= self.bearable(REQUESTS)
        assert len(self.open) <= self.bearable(SLOTS)
        tokens = [*self.used, *((began_s, tokens) for _, began_s, tokens in self.open.values())]
        assert sum(amount for began_s, amount in tokens if began_s > now_s - 60) <= self.bearable(TOKENS)
        assert sum(amount for _, amount in tokens) <= self.bearable(DAY)

    def bearable(self, limit: int) -> int:
        return limit + len(self.cut_off) * math.ceil(limit / GATEWAYS)

    @invariant()
    def no_more_is_lent_than_there_is(self) -> None:
        account = self.site.lender.account(KEY)
        for kind, limit in account.limits.items() if account else ():
            used_today = self.site.lender.spent_today(KEY, self.site.moment()) if kind is Kind.DAY else 0
            assert limit.free(self.site.moment(), used_today) >= limit.limit - self.bearable(limit.limit)

    def teardown(self) -> None:
        """After a minute of quiet all is there again, but for what was used of the day; where a limit was exceeded, as
        long after that has been made good."""
        if not hasattr(self, "site"):
            return
        for charge in list(self.open):
            charge.settle(0)
        self.site.pass_time(150 if self.cut_off else 75, 1.0)
        for limit in (Limits(requests_per_minute=REQUESTS), Limits(concurrent_requests=SLOTS)):
            self.site.limits = limit
            entered = [self.site.try_to_enter(0, 1) for _ in range(REQUESTS + 1)]
            assert sum(charge is not None for charge in entered) == (limit.requests_per_minute or SLOTS)
            for charge in entered:
                if charge is not None:
                    charge.settle(0)
            self.site.exchange_all()
        self.site.limits = Limits(tokens_per_minute=TOKENS)
        self.site.exchange_all()
        self.site.pass_time(62, 1.0)
        assert self.site.try_to_enter(1, TOKENS)


TestLending = Lending.TestCase
TestLending.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
