"""What one replica bears: a closed form against the discrete-event replica, and its bounds."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.autoscaler.capacity import Promise, Shape, Speed, bearable, service

SPEED = Speed(step_ms=15, step_ms_per_sequence=0.03, step_ms_per_ktoken=0.04)
CHAT = Shape(prefill_ms=220, prefill_ms_squared=70_000, output_tokens=400, context_tokens=4_200)
PROMISE = Promise(ttft_ms=2_000, tpot_ms=100)


def test_at_the_most_that_is_bearable_the_promise_holds_and_a_little_more_breaks_it() -> None:
    most = bearable(CHAT, SPEED, PROMISE, 240_000)
    for rate, kept in ((most.requests_per_s * 0.99, True), (most.requests_per_s * 1.01, False)):
        at = service(CHAT, SPEED, rate)
        within = at.ttft_p99_ms <= PROMISE.ttft_ms and at.tpot_ms <= PROMISE.tpot_ms
        assert (within and at.resident_tokens <= 0.9 * 240_000) is kept
    assert most.load == pytest.approx(CHAT.load(SPEED, most.requests_per_s))


@pytest.mark.parametrize(
    ("shape", "promise", "cache_tokens", "bound"),
    [
        (CHAT, PROMISE, 60_000, "KV cache"),
        (CHAT, Promise(700, 100), 1e9, "TTFT"),
        (replace(CHAT, prefill_ms=5, prefill_ms_squared=30), Promise(2_000, 25), 1e9, "TPOT"),
    ],
)
def test_it_says_what_stops_a_replica(shape: Shape, promise: Promise, cache_tokens: float, bound: str) -> None:
    assert bearable(shape, SPEED, promise, cache_tokens).bound == bound


@pytest.mark.parametrize("promise", [Promise(200, 100), Promise(2_000, 14)])
def test_nothing_is_bearable_where_one_request_alone_misses(promise: Promise) -> None:
    assert bearable(CHAT, SPEED, promise, 1e9).load == 0


@given(st.floats(0, 1e5), st.floats(1, 5), st.floats(0, 1e5), st.floats(0, 1e6), st.floats(1, 1e5), st.floats(1, 1e4))
def test_a_stricter_promise_is_never_borne_more_of(
    prefill_ms: float, spread: float, output: float, context: float, ttft_ms: float, tpot_ms: float
) -> None:
    shape = Shape(prefill_ms, spread * prefill_ms**2, output, context)
    loose = bearable(shape, SPEED, Promise(ttft_ms, tpot_ms), 400_000)
    strict = bearable(shape, SPEED, Promise(ttft_ms, tpot_ms).stricter(0.8), 400_000)
    assert 0 <= strict.load <= loose.load * (1 + 1e-6) + 1e-9 <= 1 + 1e-5
