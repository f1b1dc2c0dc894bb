"""The line for a replica, whoever comes, goes and gives up."""

import asyncio
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from deployments.gateway.errors import GatewayError
from deployments.gateway.tenants.fair_queue import Claim
from deployments.gateway.waiting_room import Place, WaitingRoom

MAX_BYTES = 100
MAX_WAITING = 6
RETRY_S = 7


def join(room: WaitingRoom, model: str, size_bytes: int = 1, tenant: str = "t", max_waiting: int = 1000) -> Place:
    return room.join(model, Claim(tenant, 0, 1.0, size_bytes), max_waiting, RETRY_S, wakes=True)


class Line(RuleBasedStateMachine):
    """Against a list for each model: the first is called, nobody else is, nothing is held beyond the limits, and who
    is sent away for another is one of those that have most.
    """

    def __init__(self) -> None:
        super().__init__()
        self.room = WaitingRoom(MAX_BYTES)
        self.lines: dict[str, list[Place]] = {"a": [], "b": []}

    def held(self, model: str | None = None) -> Counter[str]:
        counted: Counter[str] = Counter()
        for place in (place for name, line in self.lines.items() if model in (None, name) for place in line):
            counted[place.claim.tenant] += 1 if model else place.claim.size_bytes
        return counted

    @rule(model=st.sampled_from("ab"), tenant=st.sampled_from("xyz"), size_bytes=st.integers(0, 60))
    def join(self, model: str, tenant: str, size_bytes: int) -> None:
        requests, sizes = self.held(model), self.held()
        self.room.news.clear()
        try:
            place = join(self.room, model, size_bytes, tenant, MAX_WAITING)
        except GatewayError as error:
            assert (error.status, error.code, error.retry_after_s) == (503, "at_capacity", RETRY_S)
            full = requests.total() >= MAX_WAITING and requests[tenant] + 1 >= max(requests.values())
            assert full or sizes.total() + size_bytes > MAX_BYTES
            self.drop_dismissed()
            return
        for gone in self.drop_dismissed():
            assert gone.claim.tenant != tenant
            assert gone.dismissal is not None
            assert (gone.dismissal.status, gone.dismissal.code) == (503, "at_capacity")
            assert requests.total() >= MAX_WAITING or sizes.total() + size_bytes > MAX_BYTES
        assert self.room.news.is_set() is (not self.lines[model])
        self.lines[model].append(place)

    def drop_dismissed(self) -> list[Place]:
        gone = [place for line in self.lines.values() for place in line if place.dismissal is not None]
        for place in gone:
            self.lines[place.model].remove(place)
            self.room.leave(place)
        return gone

    @rule(model=st.sampled_from("ab"), at=st.integers(0, 9))
    def leave(self, model: str, at: int) -> None:
        line = self.lines[model]
        if at < len(line):
            self.room.leave(line.pop(at))
            assert not line or is_called(self.first(model))

    @rule(model=st.sampled_from("ab"))
    def call(self, model: str) -> None:
        self.room.call_first(model)
        assert not self.lines[model] or is_called(self.first(model))

    @rule(model=st.sampled_from("ab"))
    def turn_away(self, model: str) -> None:
        self.room.turn_away(model)
        assert self.room.take_wanting(model) == max(1, len(self.lines[model]))
        assert self.room.take_wanting(model) == len(self.lines[model])

    @rule(names=st.sets(st.sampled_from("ab")))
    def keep_models(self, names: set[str]) -> None:
        self.room.keep_models(names)

    @precondition(lambda self: any(self.lines.values()))
    @rule()
    def call_all(self) -> None:
        self.room.call_all()
        assert all(is_called(self.first(model)) for model, line in self.lines.items() if line)

    def first(self, model: str) -> Place:
        (first,) = [place for place in self.lines[model] if place.is_first]
        return first

    @invariant()
    def there_is_one_first_and_nothing_beyond_the_limits(self) -> None:
        for model, line in self.lines.items():
            assert self.room.waiting(model) == len(line) <= MAX_WAITING
            if line:
                first = self.first(model)
                assert first is next(place for place in line if place.claim.tenant == first.claim.tenant)
        assert self.held().total() <= MAX_BYTES


def is_called(place: Place) -> bool:
    return place._called.is_set()


Line.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLine = Line.TestCase


async def test_of_one_tenant_nobody_but_the_first_to_come_is_called() -> None:
    room = WaitingRoom()
    places = [join(room, "m") for _ in range(3)]
    room.call_all()
    assert [is_called(place) for place in places] == [True, False, False]


async def test_a_flood_is_sent_away_before_a_tenant_with_little() -> None:
    room = WaitingRoom()
    flood = [join(room, "m", tenant="flood", max_waiting=3) for _ in range(3)]
    light = join(room, "m", tenant="light", max_waiting=3)
    assert [place.dismissal is None for place in flood] == [True, True, False]
    with pytest.raises(GatewayError, match="at_capacity"):
        await flood[2].called(within_s=60)
    with pytest.raises(GatewayError, match="at_capacity"):
        join(room, "m", tenant="flood", max_waiting=3)
    assert light.dismissal is None


async def test_a_flood_of_large_bodies_for_one_model_leaves_room_for_another() -> None:
    room = WaitingRoom(MAX_BYTES)
    flood = [join(room, "a", 25, "flood") for _ in range(4)]
    light = join(room, "b", 30, "light")
    assert [place.dismissal is None for place in flood] == [True, True, False, False]
    assert light.is_first


async def test_a_call_that_came_before_the_wait_is_not_missed() -> None:
    room = WaitingRoom()
    place = join(room, "m")
    room.call_first("m")
    async with asyncio.timeout(1):
        await place.called(within_s=60)


async def test_a_call_answers_one_wait() -> None:
    room = WaitingRoom()
    place = join(room, "m")
    room.call_first("m")
    await place.called(within_s=60)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await place.called(within_s=60)


async def test_a_room_that_closes_sends_everybody_away_and_lets_nobody_in() -> None:
    room = WaitingRoom()
    waits = [asyncio.create_task(join(room, model).called(within_s=60)) for model in "aab"]
    await asyncio.sleep(0)
    room.close()
    for wait in waits:
        with pytest.raises(GatewayError, match="shutting_down"):
            await wait
    with pytest.raises(GatewayError, match="shutting_down"):
        join(room, "c")
