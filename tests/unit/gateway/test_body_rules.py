"""What a body may ask an engine for, attack by attack. An attack is refused before an engine hears of it."""

from typing import Any

import orjson
import pytest

from deployments.gateway.body_rules.fields import REFUSED, ROUTES
from deployments.gateway.errors import GatewayError
from deployments.gateway.request import inference_request, read_document
from deployments.gateway.settings import GatewaySettings
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import MODEL, OpenStand, post
from tests.unit.gateway.scripted_engine import unary

CHAT, COMPLETIONS, RESPONSES = b"/v1/chat/completions", b"/v1/completions", b"/v1/responses"
MESSAGES, EMBEDDINGS, TOKENIZE = b"/v1/messages", b"/v1/embeddings", b"/tokenize"
HI = [{"role": "user", "content": "Hi"}]
BASE: dict[bytes, dict[str, Any]] = {
    CHAT: {"messages": HI},
    COMPLETIONS: {"prompt": "Hi"},
    RESPONSES: {"input": "Hi"},
    MESSAGES: {"messages": HI, "max_tokens": 5},
    EMBEDDINGS: {"input": "Hi"},
    TOKENIZE: {"prompt": "Hi"},
    b"/detokenize": {"tokens": [1]},
}


def sent_on(path: bytes, more: dict[str, Any], settings: GatewaySettings | None = None) -> dict[str, Any]:
    """What an engine would get."""
    body = orjson.dumps({"model": "m", **BASE[path], **more})
    document, remote = read_document(path, body, settings or GatewaySettings())
    assert not remote
    engines: dict[str, Any] = orjson.loads(inference_request(path, document, None).body)
    return engines


def refusal(path: bytes, more: dict[str, Any], settings: GatewaySettings | None = None) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        sent_on(path, more, settings)
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize("field", sorted(REFUSED))
@pytest.mark.parametrize("path", sorted(ROUTES))
def test_what_reaches_into_an_engine_is_refused_on_every_route_with_its_reason(path: bytes, field: str) -> None:
    error = refusal(path, {field: "x"})
    assert (error.code, error.param) == ("unsupported_parameter", field)
    assert REFUSED[field] in error.message


def test_a_misspelt_field_is_refused_with_the_nearest_name_as_openai_does() -> None:
    error = refusal(CHAT, {"max_token": 5})
    assert (error.code, error.param) == ("unknown_parameter", "max_token")
    assert "Did you mean 'max_tokens'?" in error.message


@pytest.mark.parametrize("field", ["Cache_Salt", "cache_salt ", "CHAT_TEMPLATE", "caché_salt", "", "x" * 100_000])
def test_no_spelling_of_a_refused_field_gets_past(field: str) -> None:
    assert len(refusal(CHAT, {field: "x"}).message) < 500


def test_an_operator_may_let_a_field_through() -> None:
    settings = GatewaySettings(extra_body_fields=["priority"])
    assert sent_on(CHAT, {"priority": 3}, settings)["priority"] == 3
    assert refusal(CHAT, {"documents": []}, settings).param == "documents"


OUT_OF_BOUNDS: list[tuple[bytes, str, Any]] = [
    (CHAT, "n", 9),
    (CHAT, "n", 0),
    (CHAT, "n", "100000"),
    (CHAT, "n", 100000.0),
    (CHAT, "n", 10**18),
    (CHAT, "n", True),
    (COMPLETIONS, "best_of", 1000),
    (COMPLETIONS, "logprobs", 21),
    (CHAT, "top_logprobs", 21),
    (RESPONSES, "top_logprobs", -1),
    (CHAT, "stop", ["x"] * 17),
    (CHAT, "stop", "x" * 257),
    (CHAT, "stop", [["x"]]),
    (MESSAGES, "stop_sequences", ["x"] * 17),
    (CHAT, "stop_token_ids", list(range(129))),
    (CHAT, "min_tokens", 8193),
    (CHAT, "min_tokens", -1),
    (CHAT, "max_tokens", -1),
    (CHAT, "max_tokens", "5"),
    (CHAT, "temperature", "0"),
    (CHAT, "temperature", -0.1),
    (CHAT, "presence_penalty", 1e300),
    (CHAT, "repetition_penalty", 0),
    (CHAT, "top_p", 1.01),
    (CHAT, "seed", 2**63),
    (CHAT, "logit_bias", {str(n): 1 for n in range(1025)}),
    (CHAT, "logit_bias", {"1": 101}),
    (CHAT, "logit_bias", {"1": "1"}),
    (CHAT, "bad_words", ["x"] * 65),
    (CHAT, "allowed_token_ids", list(range(4097))),
    (CHAT, "allowed_token_ids", [[1]]),
    (CHAT, "allowed_token_ids", [-1]),
    (b"/detokenize", "tokens", [2**31]),
    (b"/detokenize", "tokens", [-1]),
    (CHAT, "messages", HI * 4097),
    (CHAT, "tools", [{"type": "function", "function": {"name": "f"}}] * 257),
    (CHAT, "tools", [{"type": "mcp", "server_url": "http://169.254.169.254/"}]),
    (CHAT, "ignore_eos", "yes"),
    (EMBEDDINGS, "input", ["x"] * 2049),
    (EMBEDDINGS, "dimensions", 10**9),
    (CHAT, "chat_template_kwargs", {"chat_template": "{{ x }}"}),
    (RESPONSES, "chat_template_kwargs", {"tokenize": False}),
    (MESSAGES, "chat_template_kwargs", {"padding": "max_length", "max_length": 10**9}),
    (CHAT, "chat_template_kwargs", {"x": {"y": 1}}),
    (CHAT, "chat_template_kwargs", {"x": "y" * 257}),
    (CHAT, "chat_template_kwargs", [1]),
]


@pytest.mark.parametrize(("path", "field", "value"), OUT_OF_BOUNDS, ids=lambda value: repr(value)[:40])
def test_a_value_out_of_its_bounds_is_refused_by_name(path: bytes, field: str, value: Any) -> None:
    error = refusal(path, {field: value})
    assert error.param == field
    assert f"'{field}'" in error.message


def test_what_is_within_bounds_alone_may_be_too_much_together() -> None:
    assert refusal(COMPLETIONS, {"prompt": ["x"] * 33, "n": 4}).param == "prompt"
    assert sent_on(COMPLETIONS, {"prompt": ["x"] * 32, "n": 4})
    assert sent_on(COMPLETIONS, {"prompt": list(range(5000)), "n": 4}), "one prompt, as token ids"
    assert refusal(CHAT, {"min_tokens": 11, "max_tokens": 10}).param == "min_tokens"
    assert refusal(CHAT, {"min_tokens": 11, "max_completion_tokens": 10}).param == "min_tokens"
    assert sent_on(CHAT, {"min_tokens": 10, "max_tokens": 10})


def test_a_prompts_own_logprobs_are_the_operators_to_allow() -> None:
    assert refusal(COMPLETIONS, {"echo": True, "logprobs": 1}).param == "echo"
    assert refusal(COMPLETIONS, {"echo": True, "logprobs": 0}).param == "echo"
    assert sent_on(COMPLETIONS, {"echo": True})
    assert sent_on(COMPLETIONS, {"echo": True, "logprobs": 1}, GatewaySettings(extra_body_fields=["prompt_logprobs"]))


def test_more_answers_at_once_are_the_operators_to_allow() -> None:
    assert sent_on(CHAT, {"n": 16}, GatewaySettings(max_n=16))["n"] == 16


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


def test_a_body_is_at_most_32_deep() -> None:
    assert sent_on(CHAT, {"metadata": nested(31)})
    error = refusal(CHAT, {"metadata": nested(32)})
    assert "32 deep" in error.message
    assert "32 deep" in refusal(CHAT, {"metadata": nested(250)}).message
    assert refusal(CHAT, {"metadata": [0] * 100_000 + [nested(40)]})


SMUGGLED = {
    "a key twice": b'{"model":"m","n":2,"messages":[],"n":1}',
    "a refused value, then a good one": b'{"model":"m","n":9999,"messages":[],"n":1}',
    "a key in escapes": b'{"model":"m","\\u006e":1,"messages":[]}',
    "white space": b' \r\n\t{"model" : "m" , "n":1,"messages":[ ] } \n',
}


@pytest.mark.parametrize("body", list(SMUGGLED.values()), ids=list(SMUGGLED))
async def test_an_engine_reads_what_was_checked_and_nothing_else(
    start_engine: StartEngine, open_stand: OpenStand, body: bytes
) -> None:
    engine = await start_engine(unary(b"{}"))
    gateway = await open_stand(engine)
    answer = await gateway.ask(post(body=body.replace(b'"m"', orjson.dumps(MODEL))))
    assert answer.status == 200
    received = engine.exchanges[0].body
    assert received.count(b'"n"') == 1
    assert orjson.loads(received) == {"model": MODEL, "n": 1, "messages": []}


NOT_JSON = {
    "a refused value last": b'{"model":"m","n":1,"messages":[],"n":9999}',
    "a refused key in escapes": b'{"model":"m","messages":[],"cache\\u005fsalt":"x"}',
    "NaN": b'{"model":"m","temperature":NaN}',
    "infinity": b'{"model":"m","temperature":-Infinity}',
    "a number beyond doubles": b'{"model":"m","temperature":1e999}',
    "a lone surrogate": b'{"model":"m","prompt":"\\udfff"}',
    "surrogates in UTF-8": b'{"model":"m","prompt":"\xed\xa0\x80"}',
    "overlong UTF-8": b'{"model":"m","prompt":"\xc0\xaf"}',
    "a byte order mark": b'\xef\xbb\xbf{"model":"m"}',
    "UTF-16": '{"model":"m"}'.encode("utf-16"),
    "two documents": b'{"model":"m"}{"model":"m"}',
    "a comment": b'{"model":"m"/**/}',
    "a trailing comma": b'{"model":"m",}',
    "single quotes": b"{'model':'m'}",
    "a control character": b'{"model":"m\x01"}',
    "deeper than a stack": b'{"model":"m","messages":' + b"[" * 1000 + b"]" * 1000 + b"}",
    "brackets without end": b'{"model":"m","messages":' + b"[" * 1_000_000,
    "objects without end": b'{"a":' * 1_000_000,
}


@pytest.mark.parametrize("body", list(NOT_JSON.values()), ids=list(NOT_JSON))
def test_what_parsers_differ_on_is_refused(body: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        read_document(CHAT, body, GatewaySettings())
    assert caught.value.status == 400
    assert len(caught.value.message) < 300


PROMISED: list[tuple[bytes, dict[str, Any]]] = [
    (CHAT, {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]}),
    (CHAT, {"tool_choice": "required", "parallel_tool_calls": False}),
    (CHAT, {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}}),
    (CHAT, {"logprobs": True, "top_logprobs": 20, "n": 2, "stop": ["a", "b"], "seed": 7, "user": "u"}),
    (CHAT, {"reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": False}, "include_reasoning": True}),
    (CHAT, {"structured_outputs": {"choice": ["yes", "no"]}, "ignore_eos": True, "min_tokens": 3}),
    (CHAT, {"metadata": {"a": "b"}, "store": False, "service_tier": "auto", "max_completion_tokens": 9}),
    (CHAT, {"temperature": None, "n": None, "stop": None, "tools": None, "logit_bias": None}),
    (COMPLETIONS, {"suffix": "s", "logprobs": 5, "prompt": ["a", "b"], "max_tokens": 0, "stream": True}),
    (COMPLETIONS, {"prompt": [[1, 2], [3]], "top_k": -1, "min_p": 0.1, "repetition_penalty": 1.1}),
    (
        RESPONSES,
        {"instructions": "i", "reasoning": {"effort": "low"}, "store": True, "include": [], "truncation": "auto"},
    ),
    (RESPONSES, {"text": {"format": {"type": "json_schema", "name": "s", "schema": {"type": "object"}}}}),
    (MESSAGES, {"system": [{"type": "text", "text": "s"}], "thinking": {"type": "enabled", "budget_tokens": 1024}}),
    (MESSAGES, {"tools": [{"name": "f", "input_schema": {"type": "object"}}], "tool_choice": {"type": "auto"}}),
    (EMBEDDINGS, {"input": ["a", "b"], "dimensions": 64, "encoding_format": "base64"}),
    (TOKENIZE, {"add_special_tokens": False, "return_token_strs": True}),
]


@pytest.mark.parametrize(("path", "more"), PROMISED, ids=lambda value: repr(value)[:50])
def test_what_applications_use_goes_through_unchanged(path: bytes, more: dict[str, Any]) -> None:
    sent = sent_on(path, more)
    assert {name: sent[name] for name in more} == more
