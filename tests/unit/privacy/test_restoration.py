"""Answers with the data put back: the same whole and as a stream, wherever texts, events and packets are cut."""

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.gateway.privacy.event_restorer import EventRestorer
from deployments.gateway.privacy.placeholders import PLACEHOLDER
from deployments.gateway.privacy.restoration import HeldText, Restoration, asks_for_json
from tests.unit.privacy.streams import CHAT, DONE, MESSAGES, PATHS, RESPONSES, documents_in, read, stream

VALUES = {
    "<EMAIL_1>": "ann@example.com",
    "<EMAIL_12>": "<EMAIL_1>",
    "<PHONE_1>": "+49 30 901820",
    "<CARD_1>": "4111 1111 1111 1111",
    "<NAME_1>": 'Ann "X" O\\Neil\n',
    "<IP_3>": "::1<",
}
RESTORATION = Restoration(VALUES)
PIECES = (
    *VALUES,
    "<EMAIL_2>",
    "<EMAIL_",
    "<",
    "<<",
    "<E",
    "<EMAIL_1",
    "_1>",
    ">",
    "<b>",
    "<IP_0>",
    " ",
    "to ",
    "é😀",
    "1",
    "A",
)
texts = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
arguments = st.lists(st.sampled_from(PIECES), max_size=8).map(
    lambda pieces: orjson.dumps({"to": "".join(pieces)}).decode()
)


@st.composite
def cut(draw: st.DrawFn, whole: st.SearchStrategy[Any]) -> list[Any]:
    """In pieces, some of them empty."""
    text = draw(whole)
    at = sorted(draw(st.lists(st.integers(0, len(text)), max_size=len(text) + 2)))
    return [text[begin:end] for begin, end in zip([0, *at], [*at, len(text)], strict=True)]


def check_shown(shown: str, whole: str) -> None:
    """Nothing has been shown that the restored whole does not have there: no beginning of a placeholder, no other's."""
    assert whole.startswith(shown)


@given(cut(texts), st.booleans())
def test_however_a_text_is_cut_it_is_restored_as_the_whole_is(pieces: Sequence[str], in_json: bool) -> None:
    held = HeldText(RESTORATION, in_json=in_json)
    whole = RESTORATION.text("".join(pieces), in_json=in_json)
    shown = ""
    for piece in pieces:
        shown += held.feed(piece)
        check_shown(shown, whole)
    assert shown + held.rest() == whole


def test_all_cuts_of_one_text_into_three() -> None:
    text = "a<<EMAIL_12>, <EMAIL_1><PHONE_1>< <EMAIL_x <b>bold</b> <EMAIL_1"
    whole = RESTORATION.text(text)
    for first in range(len(text) + 1):
        for second in range(first, len(text) + 1):
            held = HeldText(RESTORATION, in_json=False)
            shown = [held.feed(piece) for piece in (text[:first], text[first:second], text[second:])]
            assert "".join(shown) + held.rest() == whole


@pytest.mark.parametrize("path", PATHS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_stream_cut_anywhere_reads_like_the_whole_and_never_shows_a_placeholder(
    path: bytes, data: st.DataObject
) -> None:
    """Texts are cut into deltas, and the bytes of the stream into packets."""
    text, called = data.draw(cut(texts)), data.draw(cut(arguments))
    engines = b"".join(stream(path, text, called))
    at = sorted(data.draw(st.lists(st.integers(0, len(engines)), max_size=20)))
    packets = [engines[begin:end] for begin, end in zip([0, *at], [*at, len(engines)], strict=True)]
    restorer = EventRestorer(RESTORATION, path)
    passed, whole = b"", expected(path, "".join(text), "".join(called))
    for packet in packets:
        passed += restorer.feed(packet)
        shown = read(path, documents_in(passed))
        for name, part in shown.items():
            check_shown(part, whole[name])
    assert restorer.rest() == b""
    assert read(path, documents_in(passed)) == whole
    assert passed.endswith(DONE) == engines.endswith(DONE)


def expected(path: bytes, text: str, called: str) -> dict[tuple[Any, ...], str]:
    """What a client of a stream in one piece reads: texts restored as wholes, and documents that have whole ones."""
    documents = documents_in(b"".join(stream(path, [text], [called])))
    whole = read(path, [RESTORATION.document(document) for document in documents])
    deltas = {name: part for name, part in read(path, documents).items() if len(name) > 1}
    return whole | {name: RESTORATION.text(part, in_json="arguments" in name[0]) for name, part in deltas.items()}


@given(arguments)
def test_arguments_of_calls_are_json_with_the_values_in_them(called: str) -> None:
    restored = orjson.loads(RESTORATION.document({"arguments": called})["arguments"])
    assert restored == {"to": RESTORATION.text(orjson.loads(called)["to"])}


def test_text_that_is_to_be_json_stays_json() -> None:
    answer = {"choices": [{"message": {"content": '{"name": "<NAME_1>"}'}}]}
    restored = Restoration(VALUES, text_is_json=True).document(answer)["choices"][0]["message"]["content"]
    assert orjson.loads(restored) == {"name": VALUES["<NAME_1>"]}


@pytest.mark.parametrize(
    ("document", "says_so"),
    [
        ({"response_format": {"type": "json_schema"}}, True),
        ({"response_format": {"type": "json_object"}}, True),
        ({"text": {"format": {"type": "json_schema"}}}, True),
        ({"output_config": {"format": {"type": "json_schema"}}}, True),
        ({"structured_outputs": {"json": {"type": "object"}}}, True),
        ({"structured_outputs": {"choice": ["a"]}}, False),
        ({"response_format": {"type": "text"}, "text": None}, False),
        ({}, False),
    ],
)
def test_who_asks_for_json(document: dict[str, Any], says_so: bool) -> None:
    assert asks_for_json(document) == says_so


def test_nothing_is_restored_that_is_not_of_this_request() -> None:
    mine, theirs = Restoration({"<EMAIL_1>": "me@x.com"}), Restoration({})
    assert mine.text("<EMAIL_1> <EMAIL_2> <PHONE_1>") == "me@x.com <EMAIL_2> <PHONE_1>"
    assert theirs.text("<EMAIL_1>") == "<EMAIL_1>"
    assert mine.text("< EMAIL_1> <email_1> <EMAIL_01> &lt;EMAIL_1>") == "< EMAIL_1> <email_1> <EMAIL_01> &lt;EMAIL_1>"


def test_a_value_that_looks_like_a_placeholder_is_put_in_once() -> None:
    assert RESTORATION.text("<EMAIL_12>") == "<EMAIL_1>"


def test_events_without_a_bracket_pass_as_they_came() -> None:
    odd = b'data:  {"choices" : [ {"index":0,"delta":{"content":"a"},"finish_reason":null} ]}\n\n'
    restorer = EventRestorer(RESTORATION, CHAT)
    assert restorer.feed(odd) is odd
    assert restorer.feed(b": a comment\n\n" + DONE) == b": a comment\n\n" + DONE
    assert restorer.feed(b"data: not < json\n\n") == b"data: not < json\n\n"


def test_a_bracket_written_as_an_escape_is_one() -> None:
    event = b'data: {"choices":[{"index":0,"delta":{"content":"\\u003cEMAIL_1\\u003e"},"finish_reason":"stop"}]}\n\n'
    assert b"ann@example.com" in EventRestorer(RESTORATION, CHAT).feed(event)
    assert b"ann@example.com" in RESTORATION.body(event.removeprefix(b"data: "))


def test_a_text_that_ends_in_a_beginning_gets_it_before_its_end() -> None:
    for path, kind in ((MESSAGES, "content_block_delta"), (RESPONSES, "response.output_text.delta")):
        passed = EventRestorer(RESTORATION, path).feed(b"".join(stream(path, ["a <EM"], [])))
        documents = documents_in(passed)
        numbers = [document["sequence_number"] for document in documents if "sequence_number" in document]
        assert numbers == list(range(len(numbers)))
        assert [document["type"] for document in documents].count(kind) == 2
        names = [line.removeprefix(b"event: ").decode() for line in passed.split(b"\n") if line.startswith(b"event: ")]
        assert names == [document["type"] for document in documents]


def test_an_event_that_never_ended_is_passed_on_at_the_end() -> None:
    restorer = EventRestorer(RESTORATION, CHAT)
    assert restorer.feed(b'data: {"error":') == b""
    assert restorer.rest() == b'data: {"error":'


def test_what_is_no_json_is_passed_on() -> None:
    assert RESTORATION.body(b"<html>") == b"<html>"


def test_every_placeholder_is_recognised() -> None:
    assert all(PLACEHOLDER.fullmatch(placeholder) for placeholder in VALUES)


@given(st.sampled_from(sorted(VALUES)), st.booleans())
def test_a_whole_answer_is_the_same_whether_it_is_read_or_not(placeholder: str, is_read: bool) -> None:
    """It is not, where JSON writes the data as it is: an answer may have megabytes of log-probabilities."""
    arguments = orjson.dumps({"to": placeholder, "and": "<EMAIL_99>"}).decode()
    message = {"content": f"To {placeholder}.", "tool_calls": [{"function": {"arguments": arguments}}]}
    body = orjson.dumps({"choices": [{"message": message, "logprobs": None}]})
    values = {
        **{name: value for name, value in VALUES.items() if value.isprintable()},
        **({"<NAME_9>": '"'} if is_read else {}),
    }
    restoration = Restoration(values)
    assert orjson.loads(restoration.body(body)) == restoration.document(orjson.loads(body))
