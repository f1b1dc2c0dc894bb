"""Native buckets of a latency: exponential, the same for every metric, only those told that have counts. Pure.

Prometheus's schema 3: eight to each doubling, so a value is known to 9 %. Bucket `i` is of what is above
`2**((i - 1) / 8)` s and not above `2**(i / 8)` s: an upper bound is in its bucket, as with classic ones.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable
from functools import cache

from prometheus_client.samples import BucketSpan, NativeHistogram

SCHEMA = 3
PER_DOUBLING: int = 2**SCHEMA
FACTOR: float = 2 ** (1 / PER_DOUBLING)
LOWEST, HIGHEST = -16 * PER_DOUBLING, 10 * PER_DOUBLING


def bound_s(index: int) -> float:
    """A power of two exactly, where it is one."""
    doublings, part = divmod(index, PER_DOUBLING)
    return math.ldexp(2 ** (part / PER_DOUBLING), doublings)


BOUNDS_S = tuple(bound_s(index) for index in range(LOWEST, HIGHEST + 1))
ZERO_THRESHOLD_S = BOUNDS_S[0]


@cache
def cell_bounds_s(classic_s: tuple[float, ...]) -> tuple[float, ...]:
    """Between each two of them lies a part of exactly one classic and one native bucket: counts of such cells are both.

    `classic_s`: in rising order; the last cell is of what is above all bounds of either kind.
    """
    return (*sorted({*BOUNDS_S, *classic_s} - {math.inf}), math.inf)


@cache
def index_of(bound_s: float) -> int:
    """The bucket in which counts of a cell with this upper bound are. `LOWEST`: they are as good as zero. What is above
    all buckets is in the highest.
    """
    return min(LOWEST + bisect_left(BOUNDS_S, bound_s), HIGHEST)


def native_histogram(cumulative: Iterable[tuple[float, float]], sum_s: float) -> NativeHistogram:
    """`cumulative`: by a cell's upper bound in seconds, rising, how many were not above it."""
    counts: dict[int, int] = {}
    below = 0
    for bound_s, told in cumulative:
        count, below = int(told) - below, int(told)
        if count:
            index = index_of(bound_s)
            counts[index] = counts.get(index, 0) + count
    zero_count = counts.pop(LOWEST, 0)
    spans, deltas = _sparse(counts)
    return NativeHistogram(below, sum_s, SCHEMA, ZERO_THRESHOLD_S, zero_count, spans, None, deltas)


def _sparse(counts: dict[int, int]) -> tuple[list[BucketSpan], list[int]]:
    """`counts` by index, rising. Spans of neighbours, each by its distance from the one before; the first by its index.

    Counts as the difference to the one before.
    """
    spans: list[BucketSpan] = []
    deltas: list[int] = []
    following, last = 0, 0
    for index, count in counts.items():
        if spans and index == following:
            spans[-1] = BucketSpan(spans[-1].offset, spans[-1].length + 1)
        else:
            spans.append(BucketSpan(index - following, 1))
        deltas.append(count - last)
        following, last = index + 1, count
    return spans, deltas
