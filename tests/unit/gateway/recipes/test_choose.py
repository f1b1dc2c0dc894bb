"""Choosing among labels: probabilities that sum to one, from as few reads as the labels need."""

import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.gateway.recipes.calibration import calibrated, habit
from deployments.gateway.recipes.choose import (
    END,
    Point,
    Tokens,
    most_likely,
    points,
    probabilities,
    shared_beginning,
    with_ends,
)

tokens = st.lists(st.integers(0, 3), min_size=1, max_size=4).map(tuple)
spellings = st.lists(tokens, min_size=2, max_size=8, unique=True).map(
    lambda found: with_ends({f"label {number}": spelled for number, spelled in enumerate(found)})
)


def read(spelled: Mapping[str, Tokens], seed: int) -> dict[Tokens, dict[int, float]]:
    """What some model tells."""
    return {
        point.prefix: {token: -(hash((seed, point.prefix, token)) % 1000) / 50 for token in point.tokens}
        for point in points(spelled)
    }


@given(spellings, st.integers())
def test_probabilities_of_all_labels_have_the_sum_one(spelled: dict[str, Tokens], seed: int) -> None:
    chances = probabilities(spelled, read(spelled, seed))
    assert chances.keys() == spelled.keys()
    assert math.fsum(chances.values()) == pytest.approx(1, abs=1e-9)
    assert all(0 <= chance <= 1 for chance in chances.values())


@given(spellings, st.integers(), st.randoms())
def test_the_order_of_the_labels_does_not_matter(spelled: dict[str, Tokens], seed: int, random: object) -> None:
    shuffled = list(spelled.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    other = dict(shuffled)
    assert points(spelled) == points(other)
    chances, again = (probabilities(each, read(each, seed)) for each in (spelled, other))
    assert chances == again
    assert most_likely(chances) == most_likely(again)


@given(spellings)
def test_there_is_one_read_fewer_than_labels_at_most_and_the_beginning_comes_first(spelled: dict[str, Tokens]) -> None:
    found = points(spelled)
    assert len(found) <= len(spelled) - 1
    assert [len(point.prefix) for point in found] == sorted(len(point.prefix) for point in found)
    assert all(len(point.tokens) > 1 or (*point.prefix, END) in spelled.values() for point in found)


def test_labels_whose_first_tokens_differ_are_told_apart_by_one_read() -> None:
    spelled = {"sports": (1,), "technology": (2, 5, 6), "travel": (3, 7)}
    assert points(spelled) == (Point((), (1, 2, 3)),)
    chances = probabilities(spelled, {(): {1: math.log(0.1), 2: math.log(0.1), 3: math.log(0.2)}})
    assert chances == pytest.approx({"sports": 0.25, "technology": 0.25, "travel": 0.5})


def test_where_labels_part_later_their_ways_are_multiplied() -> None:
    spelled = {"very good": (1, 2), "very bad": (1, 3), "fair": (4,)}
    assert points(spelled) == (Point((), (1, 4)), Point((1,), (2, 3)))
    shares = {(): {1: math.log(0.6), 4: math.log(0.2)}, (1,): {2: math.log(0.01), 3: math.log(0.03)}}
    assert probabilities(spelled, shares) == pytest.approx({"very good": 0.1875, "very bad": 0.5625, "fair": 0.25})


def test_a_label_that_begins_another_is_meant_unless_the_answer_goes_on_like_the_other() -> None:
    ended = with_ends({"good": (1,), "good value": (1, 2), "bad": (3,)})
    assert ended == {"good": (1, END), "good value": (1, 2), "bad": (3,)}
    assert points(ended) == (Point((), (1, 3)), Point((1,), (2,)))
    told = {(): {1: math.log(0.3), 3: math.log(0.1)}, (1,): {2: math.log(0.2)}}
    assert probabilities(ended, told) == pytest.approx({"good": 0.6, "good value": 0.15, "bad": 0.25})


def test_what_an_engine_thinks_impossible_is_no_division_by_zero() -> None:
    spelled = {"a": (1,), "b": (2,)}
    assert probabilities(spelled, {(): {1: -9999.0, 2: -9999.0}}) == {"a": 0.5, "b": 0.5}


@given(st.lists(tokens, min_size=1))
def test_a_shared_beginning_is_shared(renderings: list[Tokens]) -> None:
    alike = shared_beginning(renderings)
    assert len({rendering[:alike] for rendering in renderings}) == 1
    assert any(len(rendering) == alike for rendering in renderings) or len({r[alike] for r in renderings}) > 1


chances = st.lists(st.floats(1e-9, 1), min_size=3, max_size=3).map(
    lambda found: {name: value / math.fsum(found) for name, value in zip("abc", found, strict=True)}
)


@given(chances, st.lists(chances, min_size=1, max_size=3))
def test_calibrated_probabilities_have_the_sum_one(raw: dict[str, float], blank: list[dict[str, float]]) -> None:
    assert math.fsum(calibrated(raw, habit(blank)).values()) == pytest.approx(1, abs=1e-9)


@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=3))
def test_to_nothing_said_every_label_is_as_likely(found: list[float]) -> None:
    """Down to the least habit that counts."""
    nothing = {name: value / math.fsum(found) for name, value in zip("abc", found, strict=True)}
    assert calibrated(nothing, habit([nothing])) == pytest.approx(dict.fromkeys("abc", 1 / 3))


def test_what_a_model_says_anyhow_counts_less() -> None:
    raw = {"positive": 0.6, "negative": 0.4}
    assert most_likely(calibrated(raw, habit([{"positive": 0.8, "negative": 0.2}]))) == "negative"
