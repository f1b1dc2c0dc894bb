"""A long text is looked through in stretches, and what is found is what the whole has."""

from hypothesis import given
from hypothesis import strategies as st

from deployments.gateway.privacy.detection import Detector
from deployments.gateway.privacy.stretches import found_in, stretches
from tests.unit.privacy.requests import VALUES

DETECTOR = Detector(("US",))
WORDS = (*VALUES, "the", "weather.", "was fine,", "1", "order 20417", "Mail", "or:", "\n", "at 9:30", "XY")
texts = st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join)


@given(texts, st.integers(1, 80))
def test_no_value_is_cut(text: str, at_least: int) -> None:
    assert found_in(DETECTOR, text, at_least) == DETECTOR.find(text)


@given(texts, st.integers(1, 80))
def test_stretches_are_the_text(text: str, at_least: int) -> None:
    parts = [text[begin:end] for begin, end in stretches(text, at_least)]
    assert "".join(parts) == text
    assert all(len(part) >= at_least for part in parts[:-1])


def test_prose_is_cut_soon_and_what_has_no_words_not_at_all() -> None:
    prose = "It was a fine day and nothing happened. " * 1_000
    assert max(end - begin for begin, end in stretches(prose, 1_000)) < 1_050
    assert list(stretches("1234 " * 1_000, 100)) == [(0, 5_000)]
