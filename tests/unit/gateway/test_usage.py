"""What engines say of a request reaches the router, and clients only see it if they asked."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.gateway.answer_tap import AnswerTap
from deployments.gateway.usage import (
    LARGEST_USAGE_BYTES,
    Usage,
    UsageStripper,
    UsageWanted,
    asking_for_usage,
    read_usage,
)

CHAT = b"/v1/chat/completions"
TOKEN = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"say \\"choices\\":[] and \\"usage\\":{1}"}}]}\n\n'
USAGE = (
    b'data: {"id":"1","choices":[],"usage":{"prompt_tokens":30,"completion_tokens":2,"total_tokens":32,'
    b'"prompt_tokens_details":{"cached_tokens":16}},"metrics":{"time_to_first_token_ms":12.5}}\n\n'
)
DONE = b"data: [DONE]\n\n"

TOLD = {
    "chat": (b'{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}', Usage(7, 3)),
    "vLLM tells more": (USAGE, Usage(30, 2, 16, 12.5)),
    "no details": (b'{"usage":{"prompt_tokens":7,"completion_tokens":3,"prompt_tokens_details":null}}', Usage(7, 3)),
    "responses": (
        b'{"usage": {"input_tokens": 7, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 3}}',
        Usage(7, 3, 4),
    ),
    "anthropic": (b'{"usage":{"input_tokens":7,"cache_read_input_tokens":4,"output_tokens":3}}', Usage(7, 3, 4)),
    "the last one counts": (
        b'{"usage":{"prompt_tokens":7,"completion_tokens":1}}{"usage":{"prompt_tokens":7,"completion_tokens":2}}',
        Usage(7, 2),
    ),
    "nothing": (b'{"choices":[{"text":"\\"usage\\":{"}]}', None),
    "null": (b'{"usage":null}', None),
    "cut off": (b'{"usage":{"prompt_tokens":7,"comp', None),
    "embeddings have no output": (b'{"usage":{"prompt_tokens":7,"total_tokens":7}}', Usage(7, 0)),
    "nonsense": (b'{"usage":{"prompt_tokens":"many","completion_tokens":[]}}', None),
}


@pytest.mark.parametrize(("tail", "usage"), TOLD.values(), ids=TOLD)
def test_usage_is_read_from_any_dialect(tail: bytes, usage: Usage | None) -> None:
    assert read_usage(tail) == usage


@given(
    st.binary() | st.lists(st.sampled_from([b'"usage":{', b'"prompt_tokens":1', b"}", b'"', b",", USAGE])).map(b"".join)
)
def test_no_answer_makes_reading_it_fail(tail: bytes) -> None:
    read_usage(tail)


@given(
    st.lists(st.integers(0, 400), max_size=12),
    st.integers(0, 6),
    st.booleans(),
    st.sampled_from([UsageWanted(False, False), UsageWanted(True, False), UsageWanted(True, True)]),
)
def test_however_a_stream_is_cut_the_client_gets_all_of_it_but_the_usage_it_did_not_ask_for(
    cuts: list[int], tokens: int, is_told: bool, wanted: UsageWanted
) -> None:
    whole = b"".join(counted(n) for n in range(tokens)) + (USAGE if is_told else b"") + DONE
    stripper, seen, told = UsageStripper(wanted), b"", b""
    at = 0
    for cut in [*cuts, len(whole)]:
        passed, found, _ = stripper.feed(whole[at : at + cut])
        at += cut
        seen, told = seen + passed, told or found
    expected = b"".join(counted(n) for n in range(tokens)) if wanted.each else TOKEN * tokens
    assert seen + stripper.rest() == expected + (USAGE if is_told and wanted.at_end else b"") + DONE
    assert told == (USAGE if is_told else b"")


def counted(tokens: int) -> bytes:
    """An event that also says the usage so far."""
    details = b',"completion_tokens_details":{"reasoning_tokens":1}' if tokens % 2 else b""
    so_far = b',"usage":{"prompt_tokens":30,"total_tokens":%d,"completion_tokens":%d%b}' % (
        30 + tokens,
        tokens,
        details,
    )
    return TOKEN[: -len(b"}\n\n")] + so_far + b"}\n\n"


def test_an_endless_event_is_not_hoarded() -> None:
    stripper, passed = UsageStripper(UsageWanted(False, False)), 0
    for _ in range(100):
        passed += len(stripper.feed(b"x" * 4096)[0])
    assert passed >= 100 * 4096 - LARGEST_USAGE_BYTES


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, UsageWanted(False, False)),
        ({"stream_options": None}, UsageWanted(False, False)),
        ({"stream_options": {}}, UsageWanted(False, False)),
        ({"stream_options": {"include_usage": False}}, UsageWanted(False, False)),
        ({"stream_options": {"continuous_usage_stats": True}}, UsageWanted(False, False)),
        ({"stream_options": {"include_usage": True}}, UsageWanted(True, False)),
        ({"stream_options": {"include_usage": True, "continuous_usage_stats": True}}, UsageWanted(True, True)),
    ],
)
def test_an_engine_is_asked_for_usage_whatever_the_client_asked_for(
    options: dict[str, Any], wanted: UsageWanted
) -> None:
    document = {"model": "m", "stream": True, "seed": 7, **options}
    body, found = asking_for_usage(CHAT, orjson.dumps(document), document)
    asked = orjson.loads(body)
    assert found == wanted
    assert asked["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert {**asked, "stream_options": None} == {**document, "stream_options": None}


def test_what_the_engine_should_refuse_and_what_is_no_such_stream_is_left_as_it_is() -> None:
    for path, document in (
        (CHAT, {"stream": True, "stream_options": "yes"}),
        (CHAT, {"stream": False}),
        (b"/v1/messages", {"stream": True}),
    ):
        body = orjson.dumps(document)
        assert asking_for_usage(path, body, document) == (body, None)


@pytest.mark.parametrize("piece_bytes", [100, 1500, 100_000])
def test_an_answer_in_token_ids_says_its_usage_first_however_long_it_is(piece_bytes: int) -> None:
    usage = {"prompt_tokens": 900, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 16}}
    scores = [None, *({str(token): {"logprob": -1.0, "rank": 1, "decoded_token": None}} for token in range(900))]
    answer = orjson.dumps({"request_id": "r", "model": "m", "usage": usage, "prompt_logprobs": scores})
    tap = AnswerTap(wanted=None, prompts=1, choices=1, on_first_token=list, last_headers=lambda _: [], comment=None)
    for at in range(0, len(answer), piece_bytes):
        tap.whole_data(answer[at : at + piece_bytes])
    assert tap.usage() == Usage(900, 1, 16)
