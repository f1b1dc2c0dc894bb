"""Where a model comes from, and what is no such place."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.weights.source import Bundled, Hub, Local, SourceError, parse_source
from engine.weights.store import ModelStore


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
        ("hf:../..", "expected hf:ORG/NAME@REVISION"),
        ("hf:org/name@..", "is no revision"),
        ("hf:org/name@a/../../b", "is no revision"),
        ("hf:org/name@main.lock", "is no revision"),
        ("~no-such-user/model", "write the whole path"),
        ("/models/\0", "no NUL"),
    ],
)
def test_what_is_wrong_is_said(text: str, words: str) -> None:
    with pytest.raises(SourceError, match=words.replace("?", r"\?")):
        parse_source(text)


@given(st.tuples(st.sampled_from(["", "bundled:", "hf:", "hf:org/name@", "~", "/", "./"]), st.text(max_size=30)))
def test_any_text_is_an_error_or_a_source_whose_folder_is_below_the_store(parts: tuple[str, str]) -> None:
    try:
        source = parse_source("".join(parts))
    except SourceError as error:
        assert str(error)
        return
    if not isinstance(source, Local):
        folder = ModelStore(Path("/store")).folder(source)
        assert ".." not in folder.parts
        assert folder.parts[:2] == ("/", "store")
        assert len(folder.parts) == (4 if isinstance(source, Bundled) else 5)
