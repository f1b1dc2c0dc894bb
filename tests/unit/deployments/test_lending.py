"""A day's tokens survive state's end, to the last second; a store that fails stops no limit."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from deployments import lending as lending_module
from deployments.day_store import DayStore
from deployments.day_totals import DayCount
from deployments.gateway.tenants.account import Charge, Cost
from deployments.gateway.tenants.bins import Moment
from deployments.gateway.tenants.spending import Spending
from deployments.gateway.tenants.tenant import Limits, Tenant
from deployments.lending import Lending

TENANT = Tenant("acme", Limits(tokens_per_day=1_000))


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = Moment(100.0, 20_000)
        monkeypatch.setattr(lending_module, "system_moment", self)

    def __call__(self) -> Moment:
        return self.now

    def pass_time(self, seconds: float, days: int = 0) -> None:
        self.now = Moment(self.now.now_s + seconds, self.now.day + days)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def exchange(spending: Spending, lending: Lending) -> None:
    for _ in range(2):
        report = spending.report(is_heartbeat=True)
        assert report is not None
        spending.adopt(report, lending.exchange(report))


def enter(spending: Spending, lending: Lending, tokens: int) -> Charge | None:
    account = spending.account(TENANT, "m")
    waiter = account.wait(Cost(0, tokens), lambda: None)
    exchange(spending, lending)
    return waiter.charge


def test_a_days_tokens_are_there_after_a_kill(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "state.sqlite"
    lending = Lending(path)
    clock.pass_time(5)
    gateway = Spending("g1", clock)
    charge = enter(gateway, lending, 700)
    assert charge is not None
    clock.pass_time(1)
    exchange(gateway, lending)
    killed = lending
    after = Lending(path)
    clock.pass_time(5)
    assert enter(Spending("g2", clock), after, 400) is None
    charge.settle(500)
    exchange(gateway, after)
    assert enter(gateway, after, 400)
    clock.pass_time(1, days=1)
    for _ in range(2):
        clock.pass_time(11)
        exchange(gateway, after)
    assert enter(Spending("g3", clock), after, 1_000)
    del killed


def test_a_store_that_cannot_be_written_is_tried_again(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.sqlite"
    lending = Lending(path)
    clock.pass_time(5)
    gateway = Spending("g1", clock)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        lending._store._connection.execute("PRAGMA busy_timeout=10")
        assert enter(gateway, lending, 600)
        clock.pass_time(1)
        exchange(gateway, lending)
        assert "not saved" in caplog.text
        assert enter(gateway, lending, 500) is None
        other.execute("ROLLBACK")
    clock.pass_time(1)
    exchange(gateway, lending)
    reopened = DayStore(path)
    assert sum(reopened.spent(20_000, ("acme", "m")).values()) == 600
    reopened.close()


def test_a_count_told_twice_counts_once_and_old_days_go(tmp_path: Path) -> None:
    store = DayStore(tmp_path / "state.sqlite")
    key = ("acme", "m")
    for tokens in (5, 7, 7):
        store.keep([DayCount(20_000, key, "g1/1", tokens), DayCount(20_000, key, "g2/1", 1)])
    assert store.spent(20_000, key) == {"g1/1": 7, "g2/1": 1}
    store.forget_before(20_010)
    assert store.spent(20_000, key) == {}


async def test_a_change_of_limits_reaches_accounts_that_ask_for_nothing(clock: Clock, tmp_path: Path) -> None:
    """A gateway that made its account from limits that were already old must not keep the old ones alive."""
    lending = Lending(tmp_path / "state.sqlite")
    clock.pass_time(5)
    first, second = Spending("g1", clock), Spending("g2", clock)
    new = Tenant("acme", Limits(tokens_per_day=100))
    first.account(new, "m")
    exchange(first, lending)
    await asyncio.sleep(0.002)
    second.account(TENANT, "m")
    exchange(second, lending)
    second.know({"acme": new}.get)
    exchange(second, lending)
    waiter = first.account(new, "m").wait(Cost(0, 200), lambda: None)
    exchange(first, lending)
    assert waiter.charge is None
