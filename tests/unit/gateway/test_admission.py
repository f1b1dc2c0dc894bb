"""Which replicas may take one more request, and who may wait for one: decisions without a clock or a socket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.gateway.admission import admit, check_wait, is_at_zero
from deployments.gateway.catalogue import ModelCard, Scaling, Wake
from deployments.gateway.errors import GatewayError
from deployments.gateway.replica_table import ReplicaInfo

FULL = 4


def replica(name: str, *, is_leaving: bool = False) -> ReplicaInfo:
    return ReplicaInfo(name, f"http://{name}", "token", FULL, 4096, is_leaving=is_leaving)


def card(*reluctant: str) -> ModelCard:
    return ModelCard("m", "vllm", scaling=Scaling(frozenset(reluctant)))


def admitted(names: str, *, reluctant: str = "", leaving: str = "", suspect: str = "", full: str = "") -> str:
    """Each letter is a replica."""
    replicas = [replica(name, is_leaving=name in leaving) for name in names]
    return "".join(admit(card(*reluctant), replicas, lambda name: FULL if name in full else 0, set(suspect)))


@pytest.mark.parametrize(
    ("among", "chosen"),
    [
        ({"reluctant": "c"}, "ab"),
        ({"reluctant": "c", "full": "a"}, "b"),
        ({"reluctant": "c", "full": "ab"}, "c"),
        ({"reluctant": "abc"}, "abc"),
        ({"reluctant": "c", "suspect": "ab"}, "c"),
        ({"reluctant": "c", "leaving": "a", "full": "b"}, "c"),
        ({"leaving": "c"}, "ab"),
        ({"leaving": "c", "full": "ab"}, "c"),
        ({"leaving": "abc"}, "abc"),
        ({"suspect": "ab", "leaving": "c"}, "abc"),
        ({"reluctant": "z"}, "abc"),
    ],
)
def test_one_that_goes_next_is_used_only_if_no_other_has_room(among: dict[str, str], chosen: str) -> None:
    assert admitted("abc", **among) == chosen


sets = st.sets(st.sampled_from("abcd")).map("".join)


@given(sets, sets, sets, sets, sets)
def test_whoever_has_room_is_found_and_nobody_better_is_passed_over(
    names: str, reluctant: str, leaving: str, suspect: str, full: str
) -> None:
    def rank(name: str) -> int:
        return 2 if name in leaving or name in suspect else int(name in reluctant)

    with_room = [name for name in names if name not in full]
    try:
        chosen = admitted(names, reluctant=reluctant, leaving=leaving, suspect=suspect, full=full)
    except GatewayError as error:
        assert not with_room
        assert (error.status, error.code) == (503, "at_capacity" if names else "model_not_ready")
        return
    best = min(rank(name) for name in with_room)
    assert set(chosen) == {name for name in with_room if rank(name) == best}


def test_a_replica_that_leaves_may_be_asked_until_it_was() -> None:
    staying, leaving = replica("a"), replica("b", is_leaving=True)
    assert is_at_zero((), set())
    assert is_at_zero((leaving,), {"b"})
    assert not is_at_zero((leaving,), set())
    assert not is_at_zero((staying,), {"a"})
    assert not is_at_zero((staying, leaving), {"b"})


@pytest.mark.parametrize(
    ("expected_s", "is_asleep", "code", "retry_after_s"),
    [
        (20.0, True, None, 0),
        (20.1, True, "model_not_ready", 21),
        (20.0, False, None, 0),
        (33.0, False, "at_capacity", 33),
    ],
)
def test_who_may_wait(expected_s: float, is_asleep: bool, code: str | None, retry_after_s: int) -> None:
    patience = Wake(max_wait_s=20, max_waiting=4)
    if code is None:
        check_wait("m", patience, expected_s, is_asleep=is_asleep)
        return
    with pytest.raises(GatewayError) as refused:
        check_wait("m", patience, expected_s, is_asleep=is_asleep)
    assert (refused.value.status, refused.value.code, refused.value.retry_after_s) == (503, code, retry_after_s)


@pytest.mark.parametrize(
    ("asked_at_s", "expected_s"), [(None, 90.0), (1_000.0, 90.0), (960.0, 50.0), (900.0, 0.0), (1_050.0, 90.0)]
)
def test_a_wait_is_a_cold_start_less_what_has_passed_of_it(asked_at_s: float | None, expected_s: float) -> None:
    assert Scaling(cold_start_s=90, asked_at_s=asked_at_s).expected_wait_s(now_s=1_000.0) == expected_s
