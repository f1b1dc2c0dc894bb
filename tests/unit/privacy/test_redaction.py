"""What an engine may see of a request, and that it stays the same request."""

import copy
from typing import Any

import orjson
import pytest

from deployments.gateway.errors import GatewayError
from deployments.gateway.privacy.redaction import MOST_NUMBERS, refuse_token_ids
from deployments.gateway.privacy.restoration import Restoration
from deployments.gateway.prompt_blocks import prompt_blocks, prompt_text
from deployments.gateway.request import read_document
from deployments.gateway.settings import GatewaySettings
from engine.guard import GENERATION_ROUTES
from tests.unit.privacy.requests import CARD, CONVERSATION, DATA, EMAIL, PICTURE, REQUESTS, VALUES, redaction

PATHS = sorted(REQUESTS)


def chat(*contents: str, **more: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    messages = [{"role": roles[place % 2], "content": content} for place, content in enumerate(contents)]
    return {"model": "m", "messages": messages, **more}


def said(document: dict[str, Any]) -> list[str]:
    return [message["content"] for message in document["messages"]]


def test_every_route_that_takes_text_is_tried_here() -> None:
    assert set(PATHS) == {path for _, path in GENERATION_ROUTES} - {b"/detokenize"}


@pytest.mark.parametrize("path", PATHS)
def test_no_value_is_in_any_string_of_a_request(path: bytes) -> None:
    document, _ = read_document(path, orjson.dumps({"model": "m", **REQUESTS[path]}), GatewaySettings())
    before = copy.deepcopy(document)
    redacted = orjson.dumps(redaction().document(document)).decode()
    assert not [
        value
        for value in VALUES
        if value in redacted or value.replace(" ", "") in redacted.replace(PICTURE["image_url"]["url"], "")
    ]
    assert document == before, "what came is not changed in place"
    read_document(path, redacted.encode(), GatewaySettings())


@pytest.mark.parametrize("path", PATHS)
def test_what_was_taken_out_put_back_is_the_request(path: bytes) -> None:
    document = {"model": "m", **REQUESTS[path]}
    taken = redaction()
    restored = Restoration(taken.values).document(taken.document(document))
    for message in restored.get("messages") or []:
        for call in message.get("tool_calls") or ():
            call["function"]["arguments"] = orjson.dumps(orjson.loads(call["function"]["arguments"])).decode()
    expected = orjson.loads(orjson.dumps(document).replace(rb"{\"to\": ", rb"{\"to\":"))
    assert restored == expected
    assert list(restored) == list(document)


def test_media_are_not_read() -> None:
    redacted = redaction().document({"messages": CONVERSATION})
    assert redacted["messages"][1]["content"][1] == PICTURE
    audio = {"type": "input_audio", "input_audio": {"data": "4111111111111111", "format": "wav"}}
    source = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "4111111111111111"}}
    for part in (audio, source):
        document = {"messages": [{"role": "user", "content": [part]}]}
        assert redaction().document(document) == document


def test_text_that_calls_itself_a_medium_is_read() -> None:
    for part in (
        {"type": "text", "text": f"data:,{EMAIL}"},
        {"type": "document", "source": {"type": "text", "data": EMAIL}},
        {"type": "file", "file": {"filename": EMAIL, "file_data": "data:text/plain;base64,QQ=="}},
    ):
        redacted = redaction().document({"messages": [{"role": "user", "content": [part]}]})
        assert EMAIL not in str(redacted)


def test_the_same_value_has_one_placeholder_and_another_the_next() -> None:
    redacted = redaction().document(chat("a@x.com and b@x.com", "b@x.com, a@x.com, A@x.com"))
    assert said(redacted) == ["<EMAIL_1> and <EMAIL_2>", "<EMAIL_2>, <EMAIL_1>, <EMAIL_3>"]


def test_a_conversation_that_goes_on_begins_as_it_did() -> None:
    """Though fields come in another order, and whatever is said later."""
    turns = (f"I am {EMAIL}" + " and more" * 100, "Hello <EMAIL_1>!", f"{EMAIL} or b@x.com?")
    first = redaction(keeps_literals=False).document(chat(turns[0], instructions="c@x.com"))
    later = redaction(keeps_literals=False).document({"instructions": "c@x.com", **chat(*turns), "user": "z@x.com"})
    assert prompt_text(later).startswith(prompt_text(first))
    one, other = (prompt_blocks(document, b"salt").hashes for document in (first, later))
    assert len(one) > 3
    assert other[: len(one)] == one


def test_an_answer_that_was_restored_comes_back_as_the_model_wrote_it() -> None:
    """So the tokens that the model generated are found in its cache."""
    first = redaction()
    first.document(chat(f"I am {EMAIL}"))
    answer = "Hello <EMAIL_1>, not <EMAIL_2>!"
    restored = Restoration(first.values).text(answer)
    assert restored == f"Hello {EMAIL}, not <EMAIL_2>!"
    assert said(redaction(keeps_literals=False).document(chat(f"I am {EMAIL}", restored)))[1] == answer


def test_what_a_client_wrote_like_a_placeholder_comes_back_as_it_was() -> None:
    taken = redaction()
    redacted = taken.document(chat(f"<EMAIL_1> means {EMAIL}, <FOO_1> nothing"))
    assert said(redacted) == ["<EMAIL_1> means <EMAIL_2>, <FOO_1> nothing"]
    assert Restoration(taken.values).text("<EMAIL_2> <EMAIL_1>") == f"{EMAIL} <EMAIL_1>"
    taken = redaction()
    assert said(taken.document(chat(f"{EMAIL} is not <EMAIL_1>"))) == ["<EMAIL_1> is not <EMAIL_2>"]
    assert Restoration(taken.values).text("<EMAIL_1> <EMAIL_2>") == f"{EMAIL} <EMAIL_1>"


def test_arguments_of_calls_stay_json() -> None:
    arguments = orjson.dumps({"card": int(CARD.replace(" ", "")), EMAIL: ["x\n" + EMAIL], "n": 5}).decode()
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    redacted = redaction().document({"messages": [{"role": "assistant", "tool_calls": [call]}]})
    inner = orjson.loads(redacted["messages"][0]["tool_calls"][0]["function"]["arguments"])
    assert inner == {"card": "<CARD_1>", "<EMAIL_1>": ["x\n<EMAIL_1>"], "n": 5}
    call["function"] = {"name": "f", "arguments": f"not json, {EMAIL}"}
    assert EMAIL not in str(redaction().document({"messages": [{"role": "assistant", "tool_calls": [call]}]}))
    deep = "[" * 200 + f'"{EMAIL}"' + "]" * 200
    call["function"] = {"name": "f", "arguments": deep}
    assert EMAIL not in str(redaction().document({"messages": [{"role": "assistant", "tool_calls": [call]}]}))


def test_numbers_that_steer_the_engine_stay() -> None:
    document = chat("Hi", seed=4111111111111111, logit_bias={"4111": 1}, max_tokens=5)
    assert redaction().document(document) == document


@pytest.mark.parametrize(
    ("field", "value"), [("prompt", [1, 2]), ("prompt", [[1], "text"]), ("input", [["a", 5]]), ("tokens", [1])]
)
def test_token_ids_are_refused_since_nobody_can_read_them(field: str, value: Any) -> None:
    with pytest.raises(GatewayError) as caught:
        refuse_token_ids({"model": "m", field: value})
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, "cannot_redact_tokens", field)
    assert "send text" in caught.value.message
    refuse_token_ids({"prompt": ["a", "b"], "input": [{"role": "user"}], "messages": []})


def test_a_request_that_would_take_too_long_is_refused() -> None:
    with pytest.raises(GatewayError) as caught:
        redaction().document(chat("1 " * MOST_NUMBERS, "1 2"))
    assert caught.value.code == "too_many_numbers"


def test_names_that_were_found_once_are_taken_out_from_there_on() -> None:
    names = {"Ann Lee wrote": ["Ann Lee", "Ann"]}
    redacted = redaction(names=names).document(
        {**chat("Annual report", "Ann Lee wrote", "Ask Ann, not Annette"), "tools": [{"name": "Ann"}]}
    )
    assert said(redacted) == ["Annual report", "<NAME_1> wrote", "Ask <NAME_2>, not Annette"]
    assert redacted["tools"] == [{"name": "Ann"}], "names of tools are not names of people"
    assert [message["role"] for message in redacted["messages"]] == ["user", "assistant", "user"]


def test_counts_are_of_different_values() -> None:
    taken = redaction()
    taken.document(chat(DATA, DATA, "other@x.com"))
    assert dict(taken.counts) == {"EMAIL": 2, "PHONE": 1, "CARD": 1, "IBAN": 1, "IP": 1}
