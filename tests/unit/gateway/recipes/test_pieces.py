"""A long text in pieces."""

from hypothesis import given
from hypothesis import strategies as st

from deployments.gateway.recipes.pieces import pieces


@given(st.text(alphabet="ab .!\n\tü。"), st.integers(1, 40))
def test_pieces_are_the_text_and_none_is_longer_than_may_be(text: str, most_chars: int) -> None:
    cut = list(pieces(text, most_chars))
    assert "".join(cut) == text
    assert all(0 < len(piece) <= most_chars for piece in cut)


def test_a_text_is_cut_after_a_paragraph_else_a_sentence_else_a_word() -> None:
    assert list(pieces("one two three.\n\nfour. five six", 20)) == ["one two three.\n\n", "four. five six"]
    assert list(pieces("one two. three four five six", 14)) == ["one two. ", "three four ", "five six"]
    assert list(pieces("abcdefgh", 3)) == ["abc", "def", "gh"]
