"""What a request used is counted once, as it goes, and what an engine computed for nobody apart from it."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.gateway.spent import Spent
from deployments.gateway.stream_count import DeltaCount, StreamCount
from deployments.gateway.usage_counts import Counts, Row
from deployments.gateway.usage_reporter import UsageReporter
from deployments.gateway.usage_tally import ENGINES_WORD_S, RequestUsage, UsageTally
from engine.computed import Computed

KEY = ("r0", "g1/req-1")


class World:
    """A tally with a clock, and the sum of what was taken from it."""

    def __init__(self) -> None:
        self.day, self.now_s, self.delivered = 1, 0.0, Spent()
        self.tally = UsageTally(lambda: self.day, lambda: self.now_s)
        self.taken: dict[int, Counts] = {}

    def request(self) -> RequestUsage:
        request = self.tally.request("acme", "chat")
        request.asks(KEY, lambda: self.delivered)
        return request

    def take(self) -> Counts:
        for (day, tenant, model), counts in self.tally.take():
            assert (tenant, model) == ("acme", "chat")
            self.taken[day] = self.taken.get(day, Counts()) + counts
        return sum(self.taken.values(), Counts())


def test_a_completed_request_counts_what_the_engine_says() -> None:
    world = World()
    request = world.request()
    world.delivered = Spent(10, 0, 3)
    assert world.take() == Counts(1, 0, 10, 0, 3)
    assert request.completed(Spent(10, 4, 7)) == Spent(10, 4, 7)
    assert world.take() == Counts(1, 1, 10, 4, 7)
    assert world.tally.take() == []


def test_a_stream_is_counted_on_the_days_it_was_delivered_on() -> None:
    world = World()
    request = world.request()
    world.delivered = Spent(10, 0, 3)
    world.take()
    world.day = 2
    request.completed(Spent(10, 0, 8))
    world.take()
    assert world.taken == {1: Counts(1, 0, 10, 0, 3), 2: Counts(0, 1, 0, 0, 5)}


@pytest.mark.parametrize("word_comes_first", [True, False])
def test_what_was_delivered_of_an_aborted_stream_counts_and_the_rest_is_surplus(word_comes_first: bool) -> None:
    world = World()
    request = world.request()
    world.delivered = Spent(10, 0, 3)
    if word_comes_first:
        world.tally.spent(*KEY, Computed(10, 4, 5))
    assert request.broke_off() == Spent(10, 0, 3)
    if not word_comes_first:
        assert world.take() == Counts(1, 0, 10, 0, 3)
        world.tally.spent(*KEY, Computed(10, 4, 5))
    assert world.take() == Counts(1, 0, 10, 4, 3, 0, 2)
    world.tally.spent(*KEY, Computed(10, 4, 5))
    assert world.take() == Counts(1, 0, 10, 4, 3, 0, 2)


def test_nothing_delivered_makes_all_of_it_surplus_the_prompt_too() -> None:
    world = World()
    world.request().broke_off()
    world.tally.spent(*KEY, Computed(10, 4, 5))
    assert world.take() == Counts(1, 0, 0, 0, 0, 10, 5)


def test_a_dialect_that_tells_no_prompt_on_the_way_learns_it_from_the_engines_word() -> None:
    world = World()
    request = world.request()
    world.delivered = Spent(0, 0, 3)
    request.broke_off()
    world.tally.spent(*KEY, Computed(10, 4, 5))
    assert world.take() == Counts(1, 0, 10, 4, 3, 0, 2)


def test_an_engine_that_died_says_no_word_and_nothing_is_waited_for() -> None:
    world = World()
    request = world.request()
    world.delivered = Spent(10, 0, 3)
    request.broke_off()
    world.now_s = ENGINES_WORD_S + 1
    world.take()
    world.tally.spent(*KEY, Computed(10, 4, 5))
    assert world.take() == Counts(1, 0, 10, 0, 3)


def test_a_request_that_is_asked_again_elsewhere_counts_once() -> None:
    world = World()
    request = world.request()
    request.gives_up_replica()
    request.asks(("r1", KEY[1]), lambda: world.delivered)
    request.completed(Spent(10, 0, 3))
    assert world.take() == Counts(1, 1, 10, 0, 3)


def test_a_refused_one_is_a_request_without_tokens() -> None:
    world = World()
    world.request().refused()
    assert world.take() == Counts(1)


def event(index: int, prompt: int, output: int) -> bytes:
    so_far = b'"usage":{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d}' % (
        prompt,
        prompt + output,
        output,
    )
    return b'data: {"choices":[{"index":%d,"text":"\\"usage\\":{1}"}],%b}\n\n' % (index, so_far)


@given(st.lists(st.integers(1, 5), max_size=20), st.integers(1, 4))
def test_tokens_are_counted_and_not_events(steps: list[int], together: int) -> None:
    count, made, data = StreamCount(1, 1), 0, b""
    for number, step in enumerate(steps):
        made += step
        data += event(0, 9, made)
        if number % together == 0:
            count.passed(data)
            data = b""
    if data:
        count.passed(data)
    assert count.spent() == (Spent(9, 0, made) if steps else Spent())
    assert count.spent() == count.spent()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), max_size=20))
def test_each_answer_to_each_prompt_is_counted(steps: list[tuple[int, int]]) -> None:
    count, made = StreamCount(prompts=2, choices=3), dict.fromkeys(range(6), 0)
    seen: set[int] = set()
    for index, step in steps:
        made[index] += step
        seen.add(index // 3)
        count.passed(event(index, 10 + index // 3, made[index]))
    assert count.spent() == Spent(sum(10 + prompt for prompt in seen), 0, sum(made.values()))


def test_a_dialect_without_usage_on_the_way_is_counted_by_its_deltas() -> None:
    count = DeltaCount()
    count.passed(b'event: message_start\ndata: {}\n\nevent: content_block_delta\ndata: {"type":"text_delta"}\n\n')
    count.passed(b"event: response.output_text.delta\ndata: {}\n\nevent: response.output_text.done\ndata: {}\n\n")
    assert count.spent() == Spent(output_tokens=2)


class State:
    """Confirms, or not, what it may have written all the same."""

    def __init__(self) -> None:
        self.batches: dict[int, Sequence[Row]] = {}
        self.answers = True
        self.writes = True

    async def tell(self, gateway: str, batch: int, rows: Sequence[Row]) -> None:
        if self.writes:
            assert self.batches.setdefault(batch, rows) == rows
        if not self.answers:
            raise ConnectionError

    def total(self) -> Counts:
        return sum((counts for rows in self.batches.values() for _, counts in rows), Counts())


async def test_what_state_has_not_confirmed_is_told_again_as_it_was_and_nothing_is_lost() -> None:
    world, state = World(), State()
    reporter = UsageReporter("g1", world.tally, state.tell, period_s=0.001)
    running = asyncio.create_task(reporter.run())
    for state.answers, state.writes in ((True, True), (False, True), (False, False), (True, True)):
        for _ in range(20):
            request = world.request()
            request.completed(Spent(10, 0, 3))
            await asyncio.sleep(0.001)
    running.cancel()
    assert await reporter.finish()
    assert state.total() == Counts(80, 80, 800, 0, 240)
    assert sorted(state.batches) == list(range(1, len(state.batches) + 1))


async def test_what_waits_for_state_is_as_large_as_there_are_tenants_models_and_days() -> None:
    world = World()
    for _ in range(10_000):
        world.request().completed(Spent(10, 0, 3))
    assert len(world.tally.take()) == 1
