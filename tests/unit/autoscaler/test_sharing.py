"""Models that want the same GPUs: by priority, and nothing moves between equals without need."""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.autoscaler.sharing import Claim, Grant, share

ONE_GPU = {"GPU": 1.0, "CPU": 1.0}


def claim(model: str, desired: int, **changed: object) -> Claim:
    plain = Claim(model, desired, least=0, have=0, replica=ONE_GPU, priority=0, load=float(desired))
    return replace(plain, **changed)  # type: ignore[arg-type]


def counts(grants: Mapping[str, Grant]) -> dict[str, int]:
    return {model: grant.replicas for model, grant in grants.items()}


def granted(claims: Sequence[Claim], **capacity: float) -> dict[str, int]:
    return counts(share(claims, capacity))


def test_where_all_fits_all_get_what_they_want_without_a_word() -> None:
    grants = share([claim("a", 3), claim("b", 5, priority=9)], {"GPU": 8})
    assert grants == {"a": Grant(3), "b": Grant(5)}


def test_a_resource_without_a_limit_limits_nobody() -> None:
    assert granted([claim("a", 300), claim("b", 500)]) == {"a": 300, "b": 500}


def test_the_higher_priority_is_served_and_the_lower_told_who_has_the_rest() -> None:
    grants = share([claim("batch", 3, have=3), claim("chat", 2, priority=10)], {"GPU": 4})
    assert counts(grants) == {"batch": 2, "chat": 2}
    assert grants["batch"].reason == "2 of 3: 'chat' (priority 10) has the other GPUs"
    assert grants["chat"].reason == ""


def test_the_lower_priority_shrinks_to_its_least_and_not_below() -> None:
    claims = [claim("batch", 4, have=4, least=1), claim("chat", 9, priority=10)]
    grants = share(claims, {"GPU": 4})
    assert counts(grants) == {"batch": 1, "chat": 3}
    assert "'batch' (priority 0) has the other GPUs" in grants["chat"].reason


def test_leasts_that_do_not_all_fit_go_by_priority() -> None:
    assert granted([claim("a", 2, least=2), claim("b", 2, least=2, priority=1)], GPU=3) == {"a": 1, "b": 2}


def test_of_equals_the_next_replica_goes_to_whom_load_presses_most() -> None:
    claims = [claim("calm", 4, have=2, load=2.2), claim("pressed", 4, have=2, load=4.0)]
    assert granted(claims, GPU=5) == {"calm": 2, "pressed": 3}


def test_of_equals_that_have_nothing_each_gets_something_and_the_larger_need_more() -> None:
    assert granted([claim("large", 10), claim("small", 1)], GPU=5) == {"large": 4, "small": 1}


def test_what_runs_stays_however_much_more_an_equal_is_pressed() -> None:
    assert granted([claim("pressed", 4, load=9.0), claim("idle", 4, have=4, load=0.1)], GPU=4) == {
        "pressed": 0,
        "idle": 4,
    }


def test_of_equals_that_must_shrink_the_one_that_is_pressed_least_does() -> None:
    claims = [
        claim("calm", 3, have=3, load=1.0),
        claim("pressed", 3, have=3, load=2.9),
        claim("first", 2, priority=1),
    ]
    assert granted(claims, GPU=6) == {"calm": 1, "pressed": 3, "first": 2}


def test_gpus_too_few_for_a_large_replica_go_to_a_small_one() -> None:
    large = claim("large", 2, priority=5, replica={"GPU": 8.0})
    grants = share([large, claim("small", 9)], {"GPU": 12})
    assert counts(grants) == {"large": 1, "small": 4}


def test_a_replica_that_alone_is_too_large_is_told_so() -> None:
    grants = share([claim("large", 1, replica={"GPU": 8.0})], {"GPU": 4})
    assert grants["large"].reason == "0 of 1: models may use 4 GPUs, and one replica takes 8"


def test_the_scarce_resource_is_the_one_that_is_named() -> None:
    grants = share([claim("a", 1, priority=1), claim("b", 1)], {"GPU": 2, "CPU": 1})
    assert grants["b"].reason == "0 of 1: 'a' (priority 1) has the other CPUs"


def test_of_many_that_have_the_rest_the_first_are_named() -> None:
    claims = [claim(f"m{n}", 1, priority=n) for n in range(6)]
    grants = share(claims, {"GPU": 5})
    assert grants["m0"].reason == (
        "0 of 1: 'm5' (priority 5), 'm4' (priority 4), 'm3' (priority 3) and 2 more have the other GPUs"
    )


@st.composite
def contended(draw: st.DrawFn) -> tuple[list[Claim], dict[str, float]]:
    names = draw(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8, unique=True))
    claims = []
    for name in names:
        replica = {
            "GPU": draw(st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0, 8.0])),
            "CPU": draw(st.sampled_from([0.1, 1.0])),
        }
        numbers = st.integers(0, 6)
        claims.append(
            Claim(
                model=name,
                desired=draw(numbers),
                least=draw(st.integers(0, 3)),
                have=draw(numbers),
                replica=replica,
                priority=draw(st.integers(0, 2)),
                load=draw(st.floats(0, 10)),
            )
        )
    capacity = {
        "GPU": draw(st.sampled_from([0.0, 0.7, 1.0, 3.0, 8.0, 17.0])),
        "CPU": draw(st.sampled_from([2.0, 50.0])),
    }
    kept = draw(st.sets(st.sampled_from(["GPU", "CPU"])))
    return claims, {name: most for name, most in capacity.items() if name in kept}


def used(claims: Sequence[Claim], grants: Mapping[str, Grant], resource: str) -> float:
    return sum(one.replica[resource] * grants[one.model].replicas for one in claims)


@given(contended())
def test_never_more_than_there_is_or_was_wanted_and_less_only_where_no_more_fits(
    case: tuple[list[Claim], dict[str, float]],
) -> None:
    claims, capacity = case
    grants = share(claims, capacity)
    assert all(used(claims, grants, name) <= most + 1e-6 for name, most in capacity.items())
    for one in claims:
        grant = grants[one.model]
        assert 0 <= grant.replicas <= one.desired
        full = any(used(claims, grants, name) + one.replica[name] > most + 1e-9 for name, most in capacity.items())
        assert (grant.replicas < one.desired) == bool(grant.reason)
        assert full or grant.replicas == one.desired


@given(contended())
def test_applied_to_its_own_result_it_changes_nothing(case: tuple[list[Claim], dict[str, float]]) -> None:
    claims, capacity = case
    first = share(claims, capacity)
    assert share([replace(one, have=first[one.model].replicas) for one in claims], capacity) == first


@given(contended(), st.randoms(use_true_random=False))
def test_the_order_of_the_models_is_of_no_matter(
    case: tuple[list[Claim], dict[str, float]], source: random.Random
) -> None:
    claims, capacity = case
    shuffled = claims.copy()
    source.shuffle(shuffled)
    assert share(shuffled, capacity) == share(claims, capacity)


@given(contended(), st.data())
def test_a_higher_priority_never_gets_less(case: tuple[list[Claim], dict[str, float]], data: st.DataObject) -> None:
    claims, capacity = case
    one = data.draw(st.sampled_from(claims))
    raised = [replace(other, priority=other.priority + 1) if other is one else other for other in claims]
    assert share(raised, capacity)[one.model].replicas >= share(claims, capacity)[one.model].replicas


@given(contended())
def test_what_lower_priorities_want_beyond_their_least_takes_nothing_from_higher_ones(
    case: tuple[list[Claim], dict[str, float]],
) -> None:
    claims, capacity = case
    content = [replace(one, desired=one.floor) if one.priority == 0 else one for one in claims]
    with_them, without = share(claims, capacity), share(content, capacity)
    assert all(with_them[one.model].replicas == without[one.model].replicas for one in claims if one.priority > 0)


@given(contended())
@settings(max_examples=200)
def test_equals_alone_never_take_what_runs_from_one_another(case: tuple[list[Claim], dict[str, float]]) -> None:
    claims, capacity = case
    equals = [replace(one, priority=0, least=0) for one in claims]
    running = share([replace(one, desired=one.have, have=0) for one in equals], capacity)
    grants = share([replace(one, have=running[one.model].replicas) for one in equals], capacity)
    assert all(grants[one.model].replicas >= min(one.desired, running[one.model].replicas) for one in equals)


@pytest.mark.parametrize("gpus", [1_000, 200, 120])
def test_fifty_models_are_decided_in_no_time(gpus: int) -> None:
    claims = [
        claim(f"m{n}", 2 + n % 5, have=2 + n % 3, least=n % 2, priority=n % 4, load=1.7 + n % 7) for n in range(50)
    ]
    took_s = []
    for _ in range(50):
        began_s = time.perf_counter()
        share(claims, {"GPU": gpus, "CPU": 10_000})
        took_s.append(time.perf_counter() - began_s)
    assert min(took_s) < 1e-3
