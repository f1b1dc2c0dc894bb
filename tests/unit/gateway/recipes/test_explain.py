"""Which part of an input an answer rests on."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.gateway.recipes.choose import normalised
from deployments.gateway.recipes.chooser import Chooser, Question
from deployments.gateway.recipes.explain import explain_choice, explain_text
from deployments.gateway.recipes.occlusion import Unit, best_unit, segments, shift
from tests.unit.gateway.recipes.toy_engine import ToyEngine

UNITS: tuple[Unit, ...] = ("word", "sentence", "passage")
REPORT = 'The room has two beds. "I love it!" she said.\nBreakfast is at nine. Keys are left at the desk.'
prose = st.text(st.sampled_from("ab .!?\n\"'。é"), max_size=200) | st.text(max_size=100)


def render(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"What mood? {text}"}]


@given(prose, st.sampled_from(UNITS), st.integers(1, 40))
def test_segments_are_the_whole_text_and_no_more_than_allowed(text: str, unit: Unit, at_most: int) -> None:
    cut = segments(text, unit, at_most)
    assert "".join(segment.of(text) for segment in cut) == text
    assert len(cut) <= at_most
    assert all(segment.begin < segment.end for segment in cut)


@given(prose, st.sampled_from(UNITS))
def test_leaving_a_segment_out_leaves_the_rest(text: str, unit: Unit) -> None:
    for segment in segments(text, unit):
        assert len(segment.without(text)) + len(segment.of(text)) == len(text)


def test_a_sentence_has_its_quotes_and_a_line_ends_one() -> None:
    assert [s.of(REPORT).strip() for s in segments(REPORT, "sentence")] == [
        "The room has two beds.",
        '"I love it!"',
        "she said.",
        "Breakfast is at nine.",
        "Keys are left at the desk.",
    ]
    assert len(segments("one\n\ntwo\nthree\n \n\nfour", "passage")) == 3
    assert [s.of("a  b c") for s in segments("a  b c", "word")] == ["a  ", "b ", "c"]


def test_neighbours_are_merged_evenly() -> None:
    text = "w " * 100
    sizes = [len(s.of(text).split()) for s in segments(text, "word", 32)]
    assert len(sizes) == 32
    assert sum(sizes) == 100
    assert max(sizes) - min(sizes) == 1


def test_few_sentences_are_explained_by_their_words() -> None:
    assert (best_unit("I love it. Really."), best_unit(REPORT)) == ("word", "sentence")


async def test_the_part_that_decides_a_choice_comes_first_and_the_cost_is_told() -> None:
    engine = ToyEngine({"mood": {"positive": 1.0, "negative": 1.5}, "love": {"positive": 3.0}})
    asked = Question("acme", "m", render(REPORT), ("positive", "negative"), (render(""),))
    why = await explain_choice(Chooser(lambda _: 1), engine, asked, render, REPORT)
    assert (why.answer, why.unit) == ("positive", "sentence")
    assert "love" in why.segments[why.order[0]].of(REPORT)
    assert why.contributions[1] == pytest.approx(math.log(2) + why.log_prob)
    told = why.document()
    assert told["cost"]["variants"] == 6
    assert told["cost"]["reads"] == len(engine.reads()) == 7
    assert told["cost"]["computed_tokens"] == sum(len(r["token_ids"]) - 2 for r in engine.reads())
    assert [part["text"] for part in told["segments"]] == [s.of(REPORT) for s in why.segments]


async def test_a_part_that_speaks_against_the_answer_may_decide_most() -> None:
    """Of three labels, the one that most of the text has: the part that says otherwise lowers it."""
    said = {"mood": {"neutral": 4.0, "positive": 1.0, "negative": 1.0}, "hate": {"negative": 2.6}}
    engine = ToyEngine(said)
    text = "The room has two beds. I hate it. Breakfast is at nine. Keys are left at the desk."
    asked = Question("acme", "m", render(text), ("positive", "neutral", "negative"))
    why = await explain_choice(Chooser(lambda _: 1), engine, asked, render, text)
    told = why.document()["segments"]
    assert why.answer == "neutral"
    assert why.contributions[1] == min(why.contributions) < 0
    assert [part["rank"] for part in told] == [2, 1, 3, 4]
    assert told[1]["shift"] == max(part["shift"] for part in told)


@given(st.lists(st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)), min_size=2, max_size=6))
def test_a_shift_is_what_the_other_labels_gain(pairs: list[tuple[float, float]]) -> None:
    before, after = (normalised({str(at): pair[side] for at, pair in enumerate(pairs)}) for side in (0, 1))
    gained = math.fsum(max(0.0, after[label] - before[label]) for label in before)
    assert shift(before, after) == pytest.approx(gained)
    assert shift(before, after) == shift(after, before)
    assert shift(before, before) == 0


async def test_the_part_that_decides_a_text_comes_first_and_every_token_is_told() -> None:
    engine = ToyEngine({"capital": {"Paris.": 1.0}, "France": {"Paris.": 2.0}})
    text = "Name the capital of France in one word"
    why = await explain_text(engine, "m", render, text, "Paris.")
    assert why.unit == "word"
    assert why.segments[why.order[0]].of(text).strip() == "France"
    assert why.contributions[4] == pytest.approx(2.0 * len("Paris."))
    assert all("shift" not in part for part in why.document()["segments"])
    assert "".join(token.text for token in why.tokens) == "Paris."
    assert math.fsum(token.log_prob for token in why.tokens) == pytest.approx(why.log_prob)
    assert why.document()["cost"]["variants"] == len(engine.reads()) == 9


async def test_an_answer_that_is_begun_goes_on_where_it_was_begun() -> None:
    def begun(text: str) -> list[dict[str, str]]:
        return [*render(text), {"role": "assistant", "content": "It is"}]

    engine = ToyEngine({"sun": {"It is bright": 2.0}})
    why = await explain_text(engine, "m", begun, "sun or moon", " bright")
    assert "".join(token.text for token in why.tokens) == " bright"
    assert why.contributions[0] == pytest.approx(2.0 * len(" bright"))


async def test_a_long_input_is_explained_in_as_many_parts_as_allowed() -> None:
    engine = ToyEngine({"mood": {"positive": 1.0}})
    asked = Question("acme", "m", render(""), ("positive", "negative"))
    why = await explain_choice(Chooser(lambda _: 1), engine, asked, render, "word " * 500, at_most=8)
    assert len(why.segments) == 8
    assert why.cost.reads == 9
