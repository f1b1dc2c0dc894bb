"""What is read out of requests and answers to be shown: every word, whose it is, and of media only what they are."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.gateway.tenants.tenant import Tenant
from deployments.gateway.texts.parts import CUT, Part, answered, asked, without_end, without_middle
from deployments.gateway.texts.request_text import ANSWER_BYTES, PROMPT_BYTES, RequestText
from deployments.gateway.texts.streamed_answer import LARGEST_EVENT_BYTES, StreamedAnswer
from tests.unit.privacy.requests import CONVERSATION, DATA, EMAIL, REQUESTS
from tests.unit.privacy.streams import CHAT, COMPLETIONS, MESSAGES, PATHS, RESPONSES
from tests.unit.privacy.streams import stream as streamed

FIELDS = st.sampled_from(
    (
        *("messages", "input", "prompt", "system", "tools", "choices", "output", "content", "message", "delta", "text"),
        *("role", "type", "tool_calls", "function", "name", "arguments", "image_url", "source", "index", "summary"),
        *("item", "content_block", "id", "output_index", "reasoning", "token_ids"),
    )
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(FIELDS | st.text(), inner),
    max_leaves=30,
)
PARTS = st.lists(st.builds(Part, st.text(max_size=20), st.text(max_size=200)), max_size=20)


def test_a_chat_is_shown_turn_by_turn_with_calls_and_without_pictures() -> None:
    assert list(asked({"messages": CONVERSATION, "tools": REQUESTS[CHAT]["tools"]})) == [
        Part("tools", "send"),
        Part("system", DATA),
        Part("user", DATA),
        Part("image_url"),
        Part("call send", f'{{"to": "{DATA}"}}'),
        Part("tool", DATA),
    ]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (COMPLETIONS, [("prompt", DATA), ("prompt", f"again {DATA}"), ("suffix", DATA)]),
        (b"/v1/embeddings", [("input", DATA), ("input", EMAIL)]),
        (
            RESPONSES,
            [
                ("tools", "send"),
                ("instructions", DATA),
                ("user", DATA),
                ("call send", f'["{DATA}"]'),
                ("function_call_output", DATA),
            ],
        ),
        (
            MESSAGES,
            [
                ("system", DATA),
                ("user", DATA),
                ("call send", orjson.dumps({"to": [DATA]}).decode()),
                ("tool_result", DATA),
                ("source", ""),
            ],
        ),
    ],
)
def test_every_route_has_its_texts(path: bytes, expected: list[tuple[str, str]]) -> None:
    assert list(asked(REQUESTS[path])) == expected


@pytest.mark.parametrize("one", [[1, 2, 3], [[1, 2, 3]]])
def test_token_ids_are_counted(one: list[Any]) -> None:
    assert list(asked({"prompt": one})) == [Part("prompt: 3 token ids")]


@pytest.mark.parametrize(
    "document",
    [
        {"choices": [{"message": {"role": "assistant", "reasoning": "Hm.", "content": "Yes"}, "logprobs": {"t": "X"}}]},
        {"content": [{"type": "thinking", "thinking": "Hm.", "signature": "X"}, {"type": "text", "text": "Yes"}]},
        {
            "instructions": "X",
            "output": [
                {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Yes"}]},
            ],
        },
    ],
)
def test_whole_answers_of_every_dialect_say_the_same(document: dict[str, Any]) -> None:
    assert list(answered(document)) == [Part("reasoning", "Hm."), Part("assistant", "Yes")]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("bytes_at_once", [1, 7, 10_000])
def test_a_stream_is_put_together_wherever_it_is_cut(path: bytes, bytes_at_once: int) -> None:
    text, arguments = "Grüße, <EMAIL_1>!", '{"to": "you"}'
    data = b"".join(streamed(path, list(text), list(arguments)))
    heard = StreamedAnswer(path, 4096)
    for begin in range(0, len(data), bytes_at_once):
        heard.feed(data[begin : begin + bytes_at_once])
    call = {CHAT: ["call send"], MESSAGES: ["call f"], RESPONSES: ["call"], COMPLETIONS: []}[path]
    said, is_cut = heard.parts()
    assert said == [Part("assistant", text), *(Part(of, arguments) for of in call)]
    assert not is_cut


def test_a_call_in_a_stream_of_responses_has_its_name() -> None:
    item = {"type": "function_call", "id": "j", "name": "send"}
    named = {"type": "response.output_item.added", "output_index": 1, "item": item}
    heard = StreamedAnswer(RESPONSES, 4096)
    for event in (b"data: " + orjson.dumps(named) + b"\n\n", *streamed(RESPONSES, [], ["{}"])):
        heard.feed(event)
    assert heard.parts() == ([Part("call send", "{}")], False)


def test_of_a_long_stream_only_the_beginning_is_held() -> None:
    heard = StreamedAnswer(CHAT, 100)
    for event in streamed(CHAT, ["word "] * 1_000, []):
        heard.feed(event)
    heard.feed(b"data: " + b"x" * LARGEST_EVENT_BYTES)
    (said, mark), is_cut = heard.parts()
    assert (mark, is_cut) == (Part(CUT), True)
    assert said.text.startswith("word word ")
    assert len(said.text) <= 100


def test_of_a_long_conversation_the_beginning_and_the_last_turn_are_kept() -> None:
    turns = [{"role": "user", "content": f"{number}: " + "é" * 500} for number in range(100)]
    kept, is_cut = without_middle(asked({"messages": turns}), PROMPT_BYTES)
    assert is_cut
    assert kept[0].text == turns[0]["content"]
    assert kept[-1].text == turns[-1]["content"]
    assert [part.of for part in kept].count(CUT) == 1
    (begin, mark, end), _ = without_middle([Part("user", f"begin{'x' * 9_000_000}end")], PROMPT_BYTES)
    assert (begin.text[:6], mark.of, end.text[-4:]) == ("beginx", CUT, "xend")


def bytes_in(said: list[Part]) -> int:
    """As JSON, of texts without what JSON escapes."""
    return sum(len(f'{{"of":"{of}","text":"{text}"}},'.encode()) for of, text in said)


@given(said=PARTS, most_bytes=st.integers(0, 3_000))
def test_no_more_is_kept_than_may_be_and_all_of_it_if_it_may(said: list[Part], most_bytes: int) -> None:
    size = bytes_in(said)
    for cut in (without_end, without_middle):
        kept, is_cut = cut(said, most_bytes)
        assert is_cut == (size > most_bytes)
        words = [part for part in kept if part != Part(CUT)]
        assert bytes_in(words) <= most_bytes
        if not is_cut:
            assert kept == said


@given(JSON, JSON, st.sampled_from(PATHS), st.booleans())
def test_nothing_that_is_json_is_too_odd(prompt: Any, answer: Any, path: bytes, is_event_stream: bool) -> None:
    text = RequestText(Tenant("acme"), path, orjson.dumps({"messages": prompt, "tools": prompt, "input": prompt}))
    documents = [answer, {"choices": answer}, {"content_block": answer, "item": answer, "choices": [{"delta": answer}]}]
    for one in documents:
        data = orjson.dumps(one)
        text.hears(b"data: " + data + b"\n\n" if is_event_stream else data, is_event_stream=is_event_stream)
    assert orjson.loads(text.told()).keys() == {"prompt", "answer", "cut"}


@given(st.binary(max_size=300), st.booleans())
def test_nor_is_anything_that_an_engine_may_send(data: bytes, is_event_stream: bool) -> None:
    text = RequestText(Tenant("acme"), CHAT, b"{}")
    text.hears(data, is_event_stream=is_event_stream)
    assert orjson.loads(text.told())["prompt"] == []


def test_an_answer_that_is_too_large_to_be_read_is_cut_and_not_held() -> None:
    text = RequestText(Tenant("acme"), CHAT, b'{"prompt": "p"}')
    for _ in range(20):
        text.hears(b"x" * 100_000, is_event_stream=False)
    told = orjson.loads(text.told())
    assert told == {"prompt": [{"of": "prompt", "text": "p"}], "answer": [{"of": CUT, "text": ""}], "cut": ["answer"]}


def test_both_are_cut_to_their_bounds() -> None:
    body = {"messages": [{"role": "user", "content": "p" * 50_000}]}
    text = RequestText(Tenant("acme"), CHAT, orjson.dumps(body))
    answer = {"choices": [{"message": {"role": "assistant", "content": "a" * 50_000}}]}
    text.hears(orjson.dumps(answer), is_event_stream=False)
    told = orjson.loads(text.told())
    assert told["cut"] == ["prompt", "answer"]
    assert len(orjson.dumps(told)) < PROMPT_BYTES + ANSWER_BYTES + 200
