"""Which replicas are open to a request: the busy leave one clear, nobody waits for ever, nobody piles up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.gateway.routing.hold import Hold, Outstanding, open_to
from deployments.gateway.routing.score import Slo

SLO = Slo(ttft_ms=2_000, tpot_ms=100)
TYPICAL_MS = 60.0
BUSY, FAVOURED, ALIKE = (Hold.of(SLO, standing, TYPICAL_MS, 3) for standing in ("busy", "favoured", "alike"))
LONG_MS = 10_000.0


def opened(hold: Hold, *waits_ms: float, prefill_ms: float = 50.0, favoured: str = "") -> str:
    """Replicas a, b, ... that have so much to do; letters of those that are open."""
    names = "abcdefgh"[: len(waits_ms)]
    there = {name: Outstanding(ms, prefill_ms, name in favoured) for name, ms in zip(names, waits_ms, strict=True)}
    return "".join(open_to(there, hold))


@pytest.mark.parametrize(
    ("waits_ms", "names"),
    [
        ((0, 0, 0), "abc"),
        ((0, 0, 90), "abc"),
        ((0, 90, 99), "bc"),
        ((0, 90, 101), "b"),
        ((0, 101, 101), "a"),
        ((31, 90, 101), ""),
        ((300, 101, 200), ""),
        ((0,), "a"),
        ((31,), ""),
    ],
)
def test_the_busy_fill_all_but_one_and_that_one_a_request_at_a_time(waits_ms: tuple[float, ...], names: str) -> None:
    assert opened(BUSY, *waits_ms) == names


def test_long_is_what_takes_much_more_than_usual_or_breaks_the_slo_and_enough_is_at_least_one_more_prompt() -> None:
    assert (BUSY.longest_ms, BUSY.enough_ms) == (150, 100)
    assert Hold.of(SLO, "busy", TYPICAL_MS, 8).longest_ms == 60
    slow = Hold.of(SLO, "busy", 1_500.0, 3)
    assert (slow.longest_ms, slow.enough_ms) == (2_000, 1_500)


def test_a_long_prompt_leaves_the_last_clear_replica_idle_where_there_are_more() -> None:
    assert opened(BUSY, 0, 101, 101, prefill_ms=LONG_MS) == ""
    assert opened(BUSY, 0, 0, 101, prefill_ms=LONG_MS) == "ab"
    assert opened(BUSY, 0, prefill_ms=LONG_MS) == "a"


def test_the_busy_do_not_join_the_step_of_a_favoured_prompt() -> None:
    assert opened(BUSY, 0, 0, 60, favoured="c") == "ab"
    assert opened(BUSY, 0, 60, favoured="a") == ""


def test_the_favoured_go_where_their_first_token_comes_soonest() -> None:
    assert opened(FAVOURED, 90, 5, 20, 101) == "bc"
    assert opened(FAVOURED, 300, 400) == "a"


def test_who_is_alike_waits_only_where_the_slo_is_half_gone_everywhere() -> None:
    assert opened(ALIKE, 900, 1_001, 0) == "ac"
    assert opened(ALIKE, 1_001, 1_200) == ""


waits = st.lists(st.floats(0, 3_000), min_size=1, max_size=8)


@given(waits, st.floats(1, LONG_MS), st.sampled_from([BUSY, FAVOURED, ALIKE]))
def test_nothing_is_open_that_has_enough_to_do_and_an_idle_fleet_is_open_to_all(
    waits_ms: list[float], prefill_ms: float, hold: Hold
) -> None:
    for name in opened(hold, *waits_ms, prefill_ms=prefill_ms):
        assert waits_ms["abcdefgh".index(name)] <= hold.enough_ms
    assert opened(hold, *[0.0] * len(waits_ms), prefill_ms=prefill_ms)


@given(waits, st.floats(1, 2.5 * TYPICAL_MS))
def test_of_several_replicas_one_without_work_is_never_closed_to_all(waits_ms: list[float], prefill_ms: float) -> None:
    """Work-conserving: where a replica is idle and another full, somebody who waits may go to one of them."""
    assert opened(BUSY, 0.0, *waits_ms[1:], prefill_ms=prefill_ms)


@given(waits)
def test_the_busy_leave_a_clear_replica_clear_as_long_as_another_is_not_full(waits_ms: list[float]) -> None:
    clear = [n for n, ms in zip("abcdefgh", waits_ms, strict=False) if ms <= BUSY.clear_ms]
    filling = [n for n, ms in zip("abcdefgh", waits_ms, strict=False) if BUSY.clear_ms < ms <= BUSY.enough_ms]
    if len(clear) == 1 and filling:
        assert clear[0] not in opened(BUSY, *waits_ms)


def test_once_some_replica_has_room_one_that_has_more_cached_is_open_too() -> None:
    """Else a saturated fleet would compute every prompt anew, wherever there is room next."""

    def with_cache(hold: Hold, *waits_ms: float, favoured: str = "") -> str:
        names = "abc"[: len(waits_ms)]
        there = {
            name: Outstanding(ms, 50.0, name in favoured, 1_000.0 if name == "a" else 0.0)
            for name, ms in zip(names, waits_ms, strict=True)
        }
        return "".join(sorted(open_to(there, hold)))

    assert with_cache(ALIKE, 5_000, 10, 1_001) == "ab"
    assert with_cache(ALIKE, 5_000, 1_001, 1_001) == ""
    assert with_cache(BUSY, 900, 0, 60) == "ac"
    assert with_cache(BUSY, 0, 60, 60) == "bc"
    assert with_cache(BUSY, 900, 0, 60, favoured="a") == "c"
