"""What a replica has cached is known by what was sent there, within a bound."""

import tracemalloc
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.gateway.routing.prefix_index import ENTRY_BYTES, PrefixIndex
from engine.simulated.block_manager import BlockManager

PLENTY = 1 << 30
CONVERSATION = (1, 2, 3, 4)
ENDS = (16.0, 32.0, 48.0, 64.0)


def test_a_replica_is_known_to_hold_what_was_sent_there_and_no_other_is() -> None:
    index = PrefixIndex(PLENTY)
    index.read("a", CONVERSATION, ENDS)
    index.read("b", CONVERSATION[:2], ENDS[:2])
    assert index.hits(CONVERSATION) == {"a": 4, "b": 2}
    assert index.hits((1, 2, 9)) == {"a": 2, "b": 2}
    assert index.hits((9, 1)) == {}
    assert index.hits(()) == {}


def test_what_is_being_read_stays_and_the_rest_goes_tail_first() -> None:
    index = PrefixIndex(PLENTY)
    index.read("a", CONVERSATION, ENDS)
    index.release("a", CONVERSATION)
    index.read("a", (7, 8), ENDS[:2])
    index.shrink("a", 64.0)
    assert index.hits(CONVERSATION) == {"a": 2}
    index.shrink("a", 0.0)
    assert index.hits(CONVERSATION) == {}
    assert index.hits((7, 8)) == {"a": 2}


def test_losing_a_replica_keeps_what_is_known_of_the_others_and_a_new_one_starts_empty() -> None:
    index = PrefixIndex(PLENTY)
    for replica in "abc":
        index.read(replica, CONVERSATION, ENDS)
    index.remove("b")
    assert index.hits(CONVERSATION) == {"a": 4, "c": 4}
    index.read("d", CONVERSATION[:1], ENDS[:1])
    assert index.hits(CONVERSATION) == {"a": 4, "c": 4, "d": 1}
    index.release("b", CONVERSATION)


def test_the_index_stays_within_its_bytes() -> None:
    index = PrefixIndex(100 * ENTRY_BYTES)
    for number in range(1000):
        replica, blocks = "ab"[number % 2], tuple(range(number * 10, number * 10 + 5))
        index.read(replica, blocks, (16.0, 32.0, 48.0, 64.0, 80.0))
        index.release(replica, blocks)
        index.shrink(replica, float("inf"))
        assert index.entries() <= 105
    assert index.hits(tuple(range(9980, 9985))) == {"a": 5}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.integers(1, 8), st.booleans()), max_size=60))
def test_it_forgets_what_an_engines_own_cache_evicts(requests: list[tuple[str, int, int, bool]]) -> None:
    """Block for block the same as vLLM's scheme, where the gateway knows the cache's size."""
    capacity = 12
    index = PrefixIndex(PLENTY)
    engines = {name: BlockManager(capacity) for name in "abc"}
    open_requests: list[tuple[str, tuple[int, ...]]] = []
    for replica, conversation, length, ends_one in requests:
        if ends_one and open_requests:
            name, blocks = open_requests.pop(0)
            index.release(name, blocks)
            for block in reversed(blocks):
                engines[name].unpin(block)
        blocks = tuple(conversation * 100 + i for i in range(length))
        engine = engines[replica]
        hit = engine.cached_prefix(blocks)
        assert index.hits(blocks).get(replica, 0) == hit
        held = sum(not engine.cached_prefix((block,)) for block in blocks)
        if engine.used_blocks + len(blocks) > capacity:
            continue
        for block in blocks[:hit]:
            engine.pin(block)
        assert held == length - hit
        assert engine.take(length - hit)
        for block in blocks[hit:]:
            engine.publish(block)
        index.read(replica, blocks, tuple(float(i + 1) for i in range(length)))
        index.shrink(replica, capacity)
        open_requests.append((replica, blocks))


def test_a_full_index_takes_no_more_memory_than_it_may() -> None:
    """Measured, with every block in use by one replica alone: the most that an entry can cost."""
    random, max_bytes = Random(1), 4 * 2**20
    index = PrefixIndex(max_bytes)
    tracemalloc.start()
    for number in range(4_000):
        replica = f"replica-{number % 8}"
        blocks = [random.getrandbits(64) for _ in range(32)]
        index.read(replica, blocks, [64.0 * (i + 1) for i in range(32)])
        index.release(replica, blocks)
        index.shrink(replica, float("inf"))
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert index.entries() > 0.9 * max_bytes / ENTRY_BYTES
    assert held_bytes <= max_bytes
