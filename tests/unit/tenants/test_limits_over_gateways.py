"""Limits hold over all gateways, however the requests are spread, whatever is lost or killed, and nothing is lost for
ever.
"""

from dataclasses import dataclass
from functools import partial
from random import Random

import pytest

from deployments.gateway.tenants.account import Charge
from deployments.gateway.tenants.lease import Kind
from deployments.gateway.tenants.tenant import Limits
from tests.unit.tenants.several_gateways import KEY, MIDNIGHT_S, Log, Site

SPREADS = {"even": (1, 1, 1, 1), "uneven": (97, 1, 1, 1), "one": (1, 0, 0, 0)}


@pytest.mark.parametrize("spread", SPREADS.values(), ids=SPREADS.keys())
@pytest.mark.parametrize("limit", [10, 60, 600])
def test_requests_per_minute(limit: int, spread: tuple[int, ...]) -> None:
    site, random, log = Site(4, Limits(requests_per_minute=limit)), Random(1), Log()
    for _ in range(240):
        for _ in range(max(1, limit // 60)):
            gateway = random.choices(range(4), spread)[0]
            if charge := site.try_to_enter(gateway, 1):
                charge.settle(0)
                log.add(site.now_s, 1)
        site.pass_time(0.5, 0.25)
    assert log.in_the_worst_minute() <= limit
    assert sum(amount for _, amount in log.amounts) >= 0.95 * 2 * limit


def test_all_of_a_minute_may_be_used_at_once() -> None:
    site = Site(4, Limits(requests_per_minute=10))
    assert [site.try_to_enter(number % 4, 1) is not None for number in range(15)] == [True] * 10 + [False] * 5


@dataclass
class Running:
    began_s: float
    takes_s: float
    tokens: int
    charge: Charge

    def delivered(self, now_s: float) -> int:
        return int(self.tokens * min(1.0, (now_s - self.began_s) / self.takes_s))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("takes_s", "rare_tokens", "most"), [(1.0, 2_000, 1.1), (8.0, 100, 1.0), (8.0, 2_000, 1.1), (90.0, 2_000, 1.25)]
)
def test_tokens_per_minute_whatever_was_expected(takes_s: float, rare_tokens: int, most: float) -> None:
    """One answer of twenty is long, and learned of last. Counted as they are delivered."""
    limit, now_s = 60_000, 0.0
    site, random, log = Site(4, Limits(tokens_per_minute=limit)), Random(1), Log()
    running: list[Running] = []
    for _ in range(6 * 120):
        for _ in range(6):
            gateway = random.choices(range(4), SPREADS["uneven"])[0]
            if charge := site.try_to_enter(gateway, site.account(gateway).output.tokens(None)):
                tokens = rare_tokens if random.random() < 0.05 else 100
                one = Running(site.now_s, takes_s * tokens / rare_tokens, tokens, charge)
                charge.delivered = partial(lambda one: one.delivered(site.now_s), one)
                running.append(one)
        before_s, now_s = now_s or site.now_s, site.now_s
        log.add(now_s, sum(one.delivered(now_s) - one.delivered(max(one.began_s, before_s)) for one in running))
        for one in [one for one in running if one.delivered(now_s) == one.tokens]:
            running.remove(one)
            one.charge.settle(one.tokens)
        site.pass_time(0.5)
    later = [amount for at_s, amount in log.amounts if at_s >= site.now_s - 4 * 60]
    assert 0.9 * limit <= sum(later) / 4 <= 1.02 * limit
    assert log.in_the_worst_minute() <= most * limit


@pytest.mark.parametrize("spread", SPREADS.values(), ids=SPREADS.keys())
def test_concurrent_requests(spread: tuple[int, ...]) -> None:
    site, random = Site(4, Limits(concurrent_requests=8)), Random(1)
    open_charges = []
    fullest = []
    for _ in range(200):
        for _ in range(4):
            if charge := site.try_to_enter(random.choices(range(4), spread)[0], 1):
                open_charges.append(charge)
        assert len(open_charges) <= 8
        fullest.append(len(open_charges))
        for charge in open_charges[:3]:
            charge.settle(0)
        del open_charges[:3]
        site.pass_time(0.25, 0.25)
    assert sum(fullest[20:]) / len(fullest[20:]) >= 0.9 * 8


def test_a_days_tokens_outlive_state_and_end_with_the_day() -> None:
    site = Site(2, Limits(tokens_per_day=1_000), now_s=MIDNIGHT_S - 300)
    used = sum(100 for number in range(9) if (charge := site.try_to_enter(number % 2, 100)) and not charge.settle(100))
    assert used == 900
    site.pass_time(1)
    site.save()
    site.gateways.pop()
    site.restart_state()
    site.pass_time(10)
    assert site.lender.spent_today(KEY, site.moment()) == 900
    assert site.try_to_enter(0, 200) is None
    assert site.try_to_enter(0, 100)
    site.pass_time(300)
    assert site.try_to_enter(0, 900)


def test_a_killed_gateway_loses_what_it_held_for_a_minute_and_its_slots_for_seconds() -> None:
    site = Site(4, Limits(requests_per_minute=100, concurrent_requests=10))
    for _ in range(10):
        assert site.try_to_enter(0, 1)
    site.pass_time(0.25)
    site.gateways.pop(0)
    assert sum(site.try_to_enter(number % 3, 1) is not None for number in range(10)) == 0
    site.pass_time(6)
    charges = [site.try_to_enter(number % 3, 1) for number in range(10)]
    assert all(charges)
    site.pass_time(61)
    for charge in charges:
        assert charge is not None
        charge.settle(0)
    entered = 0
    while charge := site.try_to_enter(entered % 3, 1):
        charge.settle(0)
        entered += 1
    assert entered == 100


def test_what_a_killed_gateway_used_and_did_not_tell_is_not_lent_again() -> None:
    site = Site(4, Limits(requests_per_minute=100))
    entered = 0
    for _ in range(20):
        entered += site.try_to_enter(0, 1) is not None
        site.pass_time(0.25, 0.25)
    held = site.account(0).pots[Kind.REQUESTS].stock
    assert held >= 2
    untold = [site.try_to_enter(0, 1) for _ in range(held)]
    assert all(untold)
    site.gateways.pop(0)
    site.pass_time(6)
    entered += held
    while site.try_to_enter(entered % 3, 1):
        entered += 1
    assert entered == 100


@pytest.mark.parametrize("away_s", [3, 30, 150])
def test_while_state_is_away_gateways_go_on_with_what_they_had(away_s: int) -> None:
    limit = 120
    site, random, log = Site(4, Limits(requests_per_minute=limit)), Random(1), Log()

    def ask() -> None:
        for _ in range(4):
            if charge := site.try_to_enter(random.choices(range(4), SPREADS["uneven"])[0], 1):
                charge.settle(0)
                log.add(site.now_s, 1)

    for _ in range(30):
        ask()
        site.pass_time(1)
    for _ in range(away_s):
        for gateway in range(4):
            site.exchange(gateway, heard=False)
        ask()
        site.now_s += 1
    before = len(log.amounts)
    site.restart_state()
    for _ in range(120):
        site.pass_time(1)
        ask()
    assert log.in_the_worst_minute() <= 1.03 * limit
    assert len(log.amounts) - before >= 1.8 * limit
    assert sum(1 for at_s, _ in log.amounts if 1_032 < at_s <= 1_032 + away_s) >= 0.9 * limit * (away_s // 60)


def test_a_gateway_that_has_not_seen_a_tenant_and_cannot_ask_lends_an_equal_part_of_the_whole() -> None:
    """What others used meanwhile it cannot know; what was too much is made good afterwards."""
    site = Site(3, Limits(tokens_per_minute=900))
    assert site.try_to_enter(0, 886)
    site.exchange(1, heard=False, answered=False)
    assert site.is_stranger(1)
    assert site.try_to_enter(1, 300)
    assert not site.try_to_enter(1, 1)
    site.exchange_all()
    assert not site.try_to_enter(2, 1)


def test_a_new_limit_counts_what_was_used_before() -> None:
    site = Site(2, Limits(requests_per_minute=10))
    assert all(site.try_to_enter(number % 2, 1) for number in range(10))
    site.limits = Limits(requests_per_minute=15)
    assert [site.try_to_enter(number % 2, 1) is not None for number in range(6)] == [True] * 5 + [False]
    site.limits = Limits(requests_per_minute=5)
    assert site.try_to_enter(0, 1) is None
    site.pass_time(61)
    assert [site.try_to_enter(number % 2, 1) is not None for number in range(6)] == [True] * 5 + [False]


def test_slots_count_that_were_taken_before_there_was_a_limit() -> None:
    site = Site(2, Limits(requests_per_minute=100))
    charges = [site.try_to_enter(0, 1) for _ in range(3)]
    site.limits = Limits(requests_per_minute=100, concurrent_requests=4)
    site.exchange_all()
    assert [site.try_to_enter(0, 1) is not None for _ in range(2)] == [True, False]
    charges[0].settle(0)  # type: ignore[union-attr]
    site.exchange(0)
    assert site.try_to_enter(1, 1) is not None
