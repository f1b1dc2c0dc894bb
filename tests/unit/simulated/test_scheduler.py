"""The simulated engine batches as vLLM does and never loses a KV block."""

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.simulated.block_manager import BLOCK_TOKENS
from engine.simulated.scheduler import Scheduler, Sequence


def hashes_of(family: int, prompt_tokens: int) -> tuple[int, ...]:
    return tuple(hash((family, block)) for block in range(prompt_tokens // BLOCK_TOKENS))


def run_to_end(scheduler: Scheduler, limit: int = 20_000) -> list[str]:
    finished = []
    for _ in range(limit):
        step = scheduler.plan_step()
        if step is None:
            return finished
        finished += [s.id for s in scheduler.finish_step(step) if s.is_finished]
    raise AssertionError("the scheduler makes no progress")


requests = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 300), st.integers(1, 40)), min_size=1, max_size=30)


@settings(max_examples=150, deadline=None)
@given(requests, st.integers(400, 2000), st.integers(16, 256), st.integers(1, 8))
def test_every_request_finishes_and_every_block_comes_back(
    shapes: list[tuple[int, int, int]], kv_tokens: int, batched: int, sequences: int
) -> None:
    scheduler = Scheduler(kv_tokens, batched, sequences)
    for number, (family, prompt, output) in enumerate(shapes):
        scheduler.add(Sequence(str(number), prompt, output, hashes_of(family, prompt)))
    assert sorted(run_to_end(scheduler), key=int) == [str(n) for n in range(len(shapes))]
    assert scheduler.blocks.used_blocks == 0


@settings(max_examples=100, deadline=None)
@given(requests, st.integers(400, 1000), st.lists(st.integers(0, 29), max_size=10))
def test_blocks_never_exceed_the_cache_whatever_is_aborted(
    shapes: list[tuple[int, int, int]], kv_tokens: int, aborted: list[int]
) -> None:
    scheduler = Scheduler(kv_tokens, 128, 8)
    sequences = [Sequence(str(n), p, o, hashes_of(f, p)) for n, (f, p, o) in enumerate(shapes)]
    for sequence in sequences:
        scheduler.add(sequence)
    victims = [sequences[index] for index in aborted if index < len(sequences)]
    while (step := scheduler.plan_step()) is not None:
        assert 0 < step.load.tokens <= 128
        assert scheduler.blocks.used_blocks <= scheduler.blocks.capacity_blocks
        if victims:
            scheduler.abort(victims.pop())
        scheduler.finish_step(step)
    assert scheduler.blocks.used_blocks == 0


def test_a_decode_is_not_held_up_by_a_long_prefill() -> None:
    scheduler = Scheduler(100_000, max_batched_tokens=64)
    talker = Sequence("talker", 10, 50)
    scheduler.add(talker)
    scheduler.finish_step(scheduler.plan_step())  # type: ignore[arg-type]
    scheduler.add(Sequence("novel", 1000, 1))
    for expected in range(2, 10):
        step = scheduler.plan_step()
        assert step is not None
        assert step.load.tokens == 64
        scheduler.finish_step(step)
        assert talker.generated == expected


def test_requests_start_in_the_order_they_came() -> None:
    scheduler = Scheduler(100_000, max_sequences=1)
    for name in ("a", "b", "c"):
        scheduler.add(Sequence(name, 20, 3))
    assert run_to_end(scheduler) == ["a", "b", "c"]


def test_a_repeated_prompt_is_read_from_the_cache_but_for_its_last_token() -> None:
    scheduler = Scheduler(100_000)
    scheduler.add(Sequence("first", 160, 1, hashes_of(1, 160)))
    run_to_end(scheduler)
    again = Sequence("again", 160, 1, hashes_of(1, 160))
    scheduler.add(again)
    step = scheduler.plan_step()
    assert step is not None
    assert again.cached_tokens == 144
    assert step.load.tokens == 16


def test_the_least_recently_read_prefix_goes_first() -> None:
    scheduler = Scheduler(20 * BLOCK_TOKENS)
    for family in (1, 2):
        scheduler.add(Sequence(str(family), 128, 1, hashes_of(family, 128)))
        run_to_end(scheduler)
    scheduler.add(Sequence("third", 128, 1, hashes_of(3, 128)))
    run_to_end(scheduler)
    assert scheduler.blocks.cached_prefix(hashes_of(1, 128)) < 8
    assert scheduler.blocks.cached_prefix(hashes_of(2, 128)) == 8


def test_running_out_of_blocks_sends_the_newest_back_and_it_still_finishes() -> None:
    scheduler = Scheduler(16 * BLOCK_TOKENS)
    for name in ("old", "new"):
        scheduler.add(Sequence(name, 100, 60))
    assert run_to_end(scheduler) == ["old", "new"]
    assert scheduler.preemptions > 0
