"""Where a model comes from, and what is no such place."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.weights.source import Bundled, Hub, Local, SourceError, parse_source


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("bundled:smollm2-135m-instruct", Bundled("smollm2-135m-instruct")),
        ("hf:org/name@v1.0", Hub("org/name", "v1.0")),
        ("hf:org/name", Hub("org/name", "main")),
        ("/models/a", Local(Path("/models/a"))),
        ("./a", Local(Path("a"))),
    ],
)
def test_the_three_forms(text: str, source: object) -> None:
    assert parse_source(text) == source


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bundled:smollm", "did you mean bundled:smollm2-135m-instruct?"),
        ("hf:name", "expected hf:ORG/NAME@REVISION"),
        ("hf:org/name@", "nothing stands after @"),
        ("org/name", "is no model source"),
        ("s3://bucket/x", "is no model source"),
    ],
)
def test_what_is_wrong_is_said(text: str, words: str) -> None:
    with pytest.raises(SourceError, match=words.replace("?", r"\?")):
        parse_source(text)


@given(st.text(max_size=30))
def test_any_text_is_a_source_or_an_error(text: str) -> None:
    try:
        assert parse_source(text)
    except SourceError as error:
        assert str(error)
