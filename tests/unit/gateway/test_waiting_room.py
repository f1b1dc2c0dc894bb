"""The line for a replica, whoever comes, goes and gives up."""

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from deployments.gateway.errors import GatewayError
from deployments.gateway.waiting_room import Place, WaitingRoom

MAX_BYTES = 100
RETRY_S = 7


class Line(RuleBasedStateMachine):
    """Against a list for each model: the first is called, nobody else is, and nothing is held beyond the limit."""

    def __init__(self) -> None:
        super().__init__()
        self.room = WaitingRoom(MAX_BYTES)
        self.lines: dict[str, list[Place]] = {"a": [], "b": []}

    @rule(model=st.sampled_from("ab"), size_bytes=st.integers(0, 60))
    def join(self, model: str, size_bytes: int) -> None:
        held = sum(place.size_bytes for line in self.lines.values() for place in line)
        self.room.news.clear()
        try:
            place = self.room.join(model, size_bytes, RETRY_S)
        except GatewayError as error:
            assert held + size_bytes > MAX_BYTES
            assert (error.status, error.code, error.retry_after_s) == (503, "at_capacity", RETRY_S)
            return
        assert held + size_bytes <= MAX_BYTES
        self.lines[model].append(place)
        assert self.room.news.is_set() is (len(self.lines[model]) == 1)

    @rule(model=st.sampled_from("ab"), at=st.integers(0, 9))
    def leave(self, model: str, at: int) -> None:
        line = self.lines[model]
        if at < len(line):
            self.room.leave(line.pop(at))
            assert not line or is_called(line[0])

    @rule(model=st.sampled_from("ab"))
    def call(self, model: str) -> None:
        self.room.call_first(model)
        assert not self.lines[model] or is_called(self.lines[model][0])

    @rule(model=st.sampled_from("ab"))
    def turn_away(self, model: str) -> None:
        self.room.turn_away(model)
        assert self.room.take_wanting(model) == max(1, len(self.lines[model]))
        assert self.room.take_wanting(model) == len(self.lines[model])

    @precondition(lambda self: any(self.lines.values()))
    @rule()
    def call_all(self) -> None:
        self.room.call_all()
        assert all(is_called(line[0]) for line in self.lines.values() if line)

    @invariant()
    def the_first_is_the_one_that_came_first(self) -> None:
        for model, line in self.lines.items():
            assert self.room.waiting(model) == len(line)
            assert [place.is_first for place in line] == [at == 0 for at in range(len(line))]
            assert not any(is_called(place) for place in line[1:])


def is_called(place: Place) -> bool:
    return place._called.is_set()


Line.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLine = Line.TestCase


async def test_a_call_that_came_before_the_wait_is_not_missed() -> None:
    room = WaitingRoom()
    place = room.join("m", 1, RETRY_S)
    room.call_first("m")
    async with asyncio.timeout(1):
        await place.called(within_s=60)


async def test_a_call_answers_one_wait() -> None:
    room = WaitingRoom()
    place = room.join("m", 1, RETRY_S)
    room.call_first("m")
    await place.called(within_s=60)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await place.called(within_s=60)


async def test_a_room_that_closes_sends_everybody_away_and_lets_nobody_in() -> None:
    room = WaitingRoom()
    waits = [asyncio.create_task(room.join(model, 1, RETRY_S).called(within_s=60)) for model in "aab"]
    await asyncio.sleep(0)
    room.close()
    for wait in waits:
        with pytest.raises(GatewayError, match="shutting_down"):
            await wait
    with pytest.raises(GatewayError, match="shutting_down"):
        room.join("c", 1, RETRY_S)
