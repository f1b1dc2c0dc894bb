"""Who goes next, whatever tenants ask for: nobody waits for ever, nobody gets more than its share while others wait."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from deployments.gateway.tenants.drain_rate import DrainRate
from deployments.gateway.tenants.fair_queue import Claim, FairQueue
from deployments.gateway.tenants.recent_shares import WINDOW_MS, RecentShares
from deployments.gateway.tenants.virtual_counters import TENANTS_KEPT, VirtualCounters, cost_tokens

LARGEST = 1000.0
tokens = st.floats(1.0, LARGEST)
tenants = st.sampled_from("abc")


def serve(queue: FairQueue[int], claims: dict[int, Claim]) -> Claim:
    """Let the first one in."""
    item = queue.first()
    assert item is not None
    queue.charge(claims[item])
    queue.leave(item)
    return claims[item]


def filled(*claims: Claim) -> tuple[FairQueue[int], dict[int, Claim]]:
    queue: FairQueue[int] = FairQueue()
    for item, claim in enumerate(claims):
        queue.join(item, claim)
    return queue, dict(enumerate(claims))


@given(st.lists(st.builds(Claim, tenants, st.just(0), tokens), min_size=1, max_size=60))
def test_while_two_tenants_wait_neither_gets_more_than_a_request_beyond_the_other(claims: list[Claim]) -> None:
    """The bound of start-time fair queueing: the largest request of each."""
    queue, by_item = filled(*claims)
    left, served = Counter(claim.tenant for claim in claims), Counter[str]()
    while len(queue):
        both_wait = [tenant for tenant, waiting in left.items() if waiting]
        claim = serve(queue, by_item)
        left[claim.tenant] -= 1
        served[claim.tenant] += claim.tokens
        for one in both_wait:
            for other in both_wait:
                assert served[one] - served[other] <= 2 * LARGEST


@given(st.lists(tokens, max_size=50), st.lists(tokens, min_size=1, max_size=5))
def test_a_tenant_that_comes_to_a_flood_goes_next(flood: list[float], light: list[float]) -> None:
    queue, by_item = filled(*(Claim("flood", 0, n) for n in [*flood, 1.0, 1.0]))
    serve(queue, by_item)
    for item, n in enumerate(light, start=100):
        by_item[item] = Claim("light", 0, n)
        queue.join(item, by_item[item])
    assert serve(queue, by_item).tenant == "light"


def test_time_without_a_request_is_no_credit() -> None:
    queue, by_item = filled(*(Claim("busy", 0, 10.0) for _ in range(100)))
    for _ in range(50):
        serve(queue, by_item)
    for item in range(100, 150):
        by_item[item] = Claim("idle", 0, 10.0)
        queue.join(item, by_item[item])
    assert Counter(serve(queue, by_item).tenant for _ in range(20)) == {"idle": 10, "busy": 10}


def test_a_higher_priority_goes_first_however_much_it_was_served() -> None:
    queue, by_item = filled(Claim("low", 0, 1.0), *(Claim("high", 5, 100.0) for _ in range(3)))
    assert [serve(queue, by_item).tenant for _ in range(4)] == ["high", "high", "high", "low"]


def test_what_was_charged_too_much_is_given_back() -> None:
    queue, by_item = filled(*(Claim(tenant, 0, 100.0) for tenant in "abab"))
    charged = serve(queue, by_item)
    queue.correct(charged, took_tokens=0.0)
    assert charged.tenant == "a"
    assert [serve(queue, by_item).tenant for _ in range(2)] == ["a", "b"]


def test_output_counts_twice() -> None:
    assert cost_tokens(uncached_tokens=100, output_tokens=50) == 200


def test_what_goes_before_a_request_is_its_own_line_and_as_much_of_its_peers() -> None:
    queue, _ = filled(
        Claim("me", 1, 30.0),
        Claim("peer", 1, 500.0),
        Claim("small", 1, 5.0),
        Claim("high", 2, 70.0),
        Claim("low", 0, 9.0),
    )
    assert queue.tokens_ahead(Claim("me", 1, 10.0)) == 30 + 40 + 5 + 70
    assert queue.tokens_ahead(Claim("new", 1, 10.0)) == 10 + 10 + 5 + 70


class Queue(RuleBasedStateMachine):
    """Whatever is done, each tenant's line is in order of arrival, floors only rise, and all who wait are served."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: FairQueue[int] = FairQueue()
        self.waiting: dict[int, Claim] = {}
        self.made = 0
        self.charged: list[Claim] = []
        self.floors: dict[int, float] = {}

    @rule(tenant=tenants, priority=st.integers(0, 1), cost=tokens, size_bytes=st.integers(0, 9))
    def join(self, tenant: str, priority: int, cost: float, size_bytes: int) -> None:
        claim = self.waiting[self.made] = Claim(tenant, priority, cost, size_bytes)
        self.queue.join(self.made, claim)
        self.made += 1

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(sorted(self.waiting)))
        del self.waiting[item]
        self.queue.leave(item)

    @precondition(lambda self: self.waiting)
    @rule()
    def let_in(self) -> None:
        claim = serve(self.queue, self.waiting)
        del self.waiting[next(item for item, other in self.waiting.items() if other is claim)]
        assert claim.priority == max([claim.priority, *(other.priority for other in self.waiting.values())])
        self.charged.append(claim)

    @precondition(lambda self: self.charged)
    @rule(took=st.floats(0, 2 * LARGEST))
    def settle(self, took: float) -> None:
        self.queue.correct(self.charged.pop(), took)

    @rule(tenant=tenants, cost=tokens)
    def pass_by(self, tenant: str, cost: float) -> None:
        """A request that did not have to wait."""
        self.queue.charge(Claim(tenant, 0, cost))

    @invariant()
    def the_account_is_right(self) -> None:
        assert len(self.queue) == len(self.waiting)
        assert set(self.queue) == set(self.waiting)
        claims = self.waiting.values()
        assert self.queue.requests_by_tenant() == Counter(claim.tenant for claim in claims)
        for tenant, held in self.queue.bytes_by_tenant().items():
            assert held == sum(claim.size_bytes for claim in claims if claim.tenant == tenant)
        for tenant in {claim.tenant for claim in claims}:
            lowest = min(claim.priority for claim in claims if claim.tenant == tenant)
            own = [i for i, claim in self.waiting.items() if (claim.tenant, claim.priority) == (tenant, lowest)]
            assert self.queue.last_of(tenant) == max(own)
        for priority, of_priority in self.queue._classes.items():
            assert of_priority.counters.floor >= self.floors.get(priority, 0.0)
            self.floors[priority] = of_priority.counters.floor

    def teardown(self) -> None:
        """Work-conserving: as long as anybody waits somebody is first, and all come to their turn."""
        order: dict[tuple[str, int], list[int]] = {}
        while (item := self.queue.first()) is not None:
            claim = self.waiting[item]
            order.setdefault((claim.tenant, claim.priority), []).append(item)
            serve(self.queue, self.waiting)
        assert not len(self.queue)
        assert sum(map(len, order.values())) == len(self.waiting)
        assert all(items == sorted(items) for items in order.values())


Queue.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestQueue = Queue.TestCase


def test_tenants_that_owe_nothing_are_forgotten_and_those_that_wait_are_not() -> None:
    counters = VirtualCounters()
    for number in range(2 * TENANTS_KEPT):
        counters.charge(f"t{number}", 1.0)
    counters.charge("last", 5.0)
    counters.charge("last", 5.0)
    counters.forget_settled(["t0"])
    assert len(counters) == 2
    assert counters.of("t0") == 1.0
    assert counters.of("t1") == counters.floor == 5.0


@pytest.mark.parametrize(
    ("asked", "standing"),
    [
        ({"me": 100.0}, "alike"),
        ({"me": 100.0, "other": 100.0}, "alike"),
        ({"me": 201.0, "other": 100.0}, "busy"),
        ({"me": 49.0, "other": 100.0}, "favoured"),
        ({"other": 100.0}, "favoured"),
        ({"me": 100.0, "b": 10.0, "c": 10.0, "d": 280.0}, "alike"),
    ],
)
def test_who_asked_for_much_more_than_the_others_is_busy(asked: dict[str, float], standing: str) -> None:
    shares = RecentShares()
    for tenant, cost in asked.items():
        shares.asked(tenant, cost, 0.0)
    assert shares.standing("me") == standing


def test_who_has_been_silent_for_a_minute_is_nobody_to_make_room_for() -> None:
    shares = RecentShares()
    shares.asked("light", 1.0, 0.0)
    standings = []
    for second in range(0, 120, 5):
        shares.asked("busy", 100.0, second * 1000.0)
        standings.append(shares.standing("busy"))
    assert standings[1] == "busy"
    assert standings[int(WINDOW_MS / 5000)] == "busy"
    assert standings[-1] == "alike"


@given(st.lists(st.tuples(tenants, tokens, st.floats(0, 20_000)), max_size=40))
def test_shares_are_those_of_this_window_and_the_one_before(asked: list[tuple[str, float, float]]) -> None:
    shares, now_ms = RecentShares(), 0.0
    log: list[tuple[str, float, float]] = []
    for tenant, cost, after_ms in asked:
        now_ms += after_ms
        shares.asked(tenant, cost, now_ms)
        log.append((tenant, cost, now_ms))
        for name in "abc":
            own = [(n, at_ms) for t, n, at_ms in log if t == name]
            recent = sum(n for n, at_ms in own if now_ms - at_ms < WINDOW_MS)
            ever = sum(n for n, at_ms in own if now_ms - at_ms <= 2 * WINDOW_MS + 40_000)
            assert recent - 1e-6 <= shares.of(name) + sum(n for n, at_ms in own if now_ms - at_ms >= WINDOW_MS)
            assert shares.of(name) <= ever + 1e-6
        assert shares._total == pytest.approx(sum(map(shares.of, "abc")))
        assert shares._tenants == sum(shares.of(name) > 0 for name in "abc")


def test_a_wait_is_what_is_ahead_at_the_pace_of_late() -> None:
    drain = DrainRate()
    assert drain.wait_s(1000.0) == 0.0
    drain.began(100.0)
    for second in range(101, 131):
        drain.let_in(50.0, float(second))
    assert drain.wait_s(1000.0) == pytest.approx(20.0)
    drain.began(1_000_000.0)
    for second in range(1, 200):
        drain.let_in(10.0, 1_000_000.0 + second)
    assert drain.wait_s(1000.0) == pytest.approx(100.0, rel=0.05)
