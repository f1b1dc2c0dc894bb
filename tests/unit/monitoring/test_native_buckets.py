"""Native buckets have every observation where Prometheus's definition says, and quantiles within the schema's error."""

import math
from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.samples import NativeHistogram

from monitoring.metrics import E2E, ITL, ROUTING
from monitoring.native_buckets import (
    BOUNDS_S,
    FACTOR,
    HIGHEST,
    LOWEST,
    SCHEMA,
    ZERO_THRESHOLD_S,
    bound_s,
    cell_bounds_s,
    native_histogram,
)

CLASSIC = st.sampled_from([ITL.buckets, E2E.buckets, ROUTING.buckets])
TIMES_S = st.lists(
    st.floats(0, 5_000) | st.floats(0, 0.001) | st.sampled_from([*BOUNDS_S, *E2E.buckets]), min_size=1, max_size=80
)


def histogram_of(times_s: list[float], classic_s: tuple[float, ...]) -> NativeHistogram:
    """As a process keeps them, and a scrape adds them up."""
    bounds_s = cell_bounds_s(classic_s)
    cells = [0] * len(bounds_s)
    for seconds in times_s:
        cells[bisect_left(bounds_s, seconds)] += 1
    cumulative = [(bound, sum(cells[: number + 1])) for number, bound in enumerate(bounds_s)]
    return native_histogram(cumulative, sum(times_s))


def decoded(native: NativeHistogram) -> dict[int, int]:
    """Counts by index, as whoever scrapes reads spans and deltas."""
    counts: dict[int, int] = {}
    index = count = 0
    deltas = iter(native.pos_deltas or ())
    for span in native.pos_spans or ():
        index += span.offset
        for _ in range(span.length):
            count += next(deltas)
            counts[index] = count
            index += 1
    assert next(deltas, None) is None
    return counts


def by_definition(times_s: list[float]) -> tuple[int, dict[int, int]]:
    """Bucket `i` has what is above `2**((i - 1) / 2**schema)` and not above `2**(i / 2**schema)`."""
    counts: dict[int, int] = {}
    for seconds in (seconds for seconds in times_s if seconds > ZERO_THRESHOLD_S):
        index = math.ceil(math.log2(seconds) * 2**SCHEMA - 1e-9)
        index = min(HIGHEST, index if seconds <= bound_s(index) else index + 1)
        counts[index] = counts.get(index, 0) + 1
    return sum(seconds <= ZERO_THRESHOLD_S for seconds in times_s), counts


@given(TIMES_S, CLASSIC)
def test_every_observation_is_in_the_bucket_of_the_definition(
    times_s: list[float], classic_s: tuple[float, ...]
) -> None:
    native = histogram_of(times_s, classic_s)
    zero, counts = by_definition(times_s)
    assert (native.zero_count, decoded(native)) == (zero, dict(sorted(counts.items())))
    assert native.count_value == len(times_s) == native.zero_count + sum(decoded(native).values())
    assert (native.schema, native.zero_threshold, native.sum_value) == (SCHEMA, ZERO_THRESHOLD_S, sum(times_s))


@given(TIMES_S, CLASSIC)
def test_a_bucket_without_a_count_takes_no_room(times_s: list[float], classic_s: tuple[float, ...]) -> None:
    native = histogram_of(times_s, classic_s)
    assert 0 not in decoded(native).values()
    assert len(native.pos_deltas or ()) <= HIGHEST - LOWEST


@given(st.lists(st.floats(0.0001, 1_000), min_size=1, max_size=200), st.floats(0, 1))
def test_a_quantile_is_within_the_factor_of_the_true_one(times_s: list[float], quantile: float) -> None:
    ranked = sorted(times_s)
    true_s = ranked[max(0, math.ceil(quantile * len(ranked)) - 1)]
    rank = max(1, math.ceil(quantile * len(ranked)))
    below = 0
    for index, count in decoded(histogram_of(times_s, E2E.buckets)).items():
        below += count
        if below >= rank:
            assert bound_s(index) / FACTOR <= true_s * (1 + 1e-12)
            assert true_s <= bound_s(index)
            return
    raise AssertionError("the quantile is in no bucket")


def test_what_is_too_short_counts_as_zero_and_what_is_too_long_is_in_the_highest() -> None:
    native = histogram_of([0.0, 1e-9, ZERO_THRESHOLD_S, 1_025.0, 1e9], ITL.buckets)
    assert (native.zero_count, decoded(native)) == (3, {HIGHEST: 2})


def test_five_milliseconds_and_a_minute_are_both_resolved() -> None:
    close = [0.005, 0.005 * FACTOR * 1.01, 60.0, 60.0 * FACTOR * 1.01]
    assert len(decoded(histogram_of(close, E2E.buckets))) == 4


def test_powers_of_two_are_bounds_of_both_kinds_exactly() -> None:
    assert [bound_s(-8), bound_s(0), bound_s(80)] == [0.5, 1.0, 1024.0]
    assert len(cell_bounds_s((0.5, 1.0))) == len(BOUNDS_S) + 1


def test_counts_by_coarser_bounds_are_in_the_bucket_of_their_bound() -> None:
    """As a version without cells has left them."""
    native = native_histogram([(0.1, 0), (0.15, 7), (math.inf, 9)], 3.0)
    assert decoded(native) == {math.ceil(math.log2(0.15) * 8): 7, HIGHEST: 2}
