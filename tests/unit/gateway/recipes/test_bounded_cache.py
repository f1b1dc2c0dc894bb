"""A cache bounded by bytes: it forgets what was asked for the longest ago, and keeps nothing that is too large."""

import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from deployments.gateway.recipes.bounded_cache import ENTRY_BYTES, BoundedCache, size_bytes

SIZES = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 3000)), max_size=60)


def making(value: Any) -> Callable[[], Awaitable[Any]]:
    async def make() -> Any:
        return value

    return make


async def has(cache: BoundedCache[str], key: int) -> bool:
    """Asking for it counts as using it, and keeps nothing."""
    keys = iter([key, -1])
    return await cache.get(lambda: next(keys), making("")) != ""


@given(SIZES)
async def test_what_is_kept_is_never_more_than_it_may_be(asked: list[tuple[int, int]]) -> None:
    cache: BoundedCache[str] = BoundedCache(4000)
    for key, size in asked:
        await cache.get(lambda key=key: key, making("x" * size))  # type: ignore[misc]
        kept = [(key, value) for key, (value, _) in cache._kept.items()]
        assert sum(ENTRY_BYTES + size_bytes(one) for one in kept) == cache._bytes <= 4000


async def test_the_one_that_was_asked_for_the_longest_ago_goes_first() -> None:
    cache: BoundedCache[str] = BoundedCache(4000)
    for key in (1, 2):
        await cache.get(lambda key=key: key, making("x" * 1000))  # type: ignore[misc]
    assert await has(cache, 1)
    await cache.get(lambda: 3, making("x" * 1500))
    assert [await has(cache, key) for key in (1, 2, 3)] == [True, False, True]


async def test_one_that_is_larger_than_all_of_it_puts_nothing_out() -> None:
    cache: BoundedCache[str] = BoundedCache(4000)
    await cache.get(lambda: 1, making("x"))
    assert await cache.get(lambda: 2, making("x" * 5000)) == "x" * 5000
    assert [await has(cache, key) for key in (1, 2)] == [True, False]


async def test_python_holds_no_more_for_it_than_it_counts() -> None:
    cache: BoundedCache[dict[str, tuple[int, ...]]] = BoundedCache(2**20)
    tracemalloc.start()
    try:
        for key in range(5_000):
            value = {f"label {key}": tuple(range(1000 + key, 1003 + key))}
            await cache.get(lambda key=key: ("acme", key), making(value))  # type: ignore[misc]
        assert 2**19 < tracemalloc.get_traced_memory()[0] < 2**20
    finally:
        tracemalloc.stop()
    assert len(cache) > 500
