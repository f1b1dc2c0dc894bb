"""Recipes as a client meets them: a whole gateway, real connections, an engine that says what it was asked."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from deployments.gateway.catalogue import ModelCard
from deployments.gateway.recipes.explained import MOST_CHARS
from deployments.gateway.request_record import RequestRecord
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.tenants.api_key import new_api_key
from deployments.gateway.tenants.tenant import Tenant
from tests.unit.gateway.harness import MODEL, get, post, until
from tests.unit.gateway.keys import keyring_of
from tests.unit.gateway.recipes.engine import ChatEngine, usage
from tests.unit.gateway.recipes.files import GREET, put
from tests.unit.gateway.recipes.stand import QUESTION, Open, ask
from tests.unit.gateway.scripted_engine import stream

SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


def contents(chat: dict[str, Any]) -> str:
    return "\n".join(message["content"] for message in chat["messages"])


async def test_a_recipe_answers_with_text_and_what_it_took(opened: Open) -> None:
    engine = ChatEngine(" Because. ")
    stand = await opened(engine)
    answer = await ask(stand, "answer", QUESTION)
    told = answer.json()
    (chat,) = engine.chats()
    assert answer.status == 200
    assert told["output"] == "Because."
    assert (told["recipe"], told["model"], told["finish_reason"]) == ("answer", MODEL, "stop")
    assert (chat["model"], chat["temperature"], chat["max_tokens"]) == (MODEL, 0.0, 256)
    assert "Why?" in contents(chat)
    prompt_tokens = sum(len(message["content"]) for message in chat["messages"])
    assert told["usage"] == {**usage(prompt_tokens), "total_tokens": prompt_tokens + 2}
    assert answer.headers["x-request-id"] == told["id"]
    assert {stage.split(";")[0] for stage in answer.headers["server-timing"].split(", ")} >= {"auth", "read", "engine"}
    await stand.settled()


async def test_what_a_caller_chooses_goes_to_the_engine(opened: Open) -> None:
    engine = ChatEngine()
    stand = await opened(engine)
    body = {**QUESTION, "model": MODEL, "max_tokens": 7, "temperature": 0.5, "seed": 3}
    assert (await ask(stand, "answer", body)).status == 200
    (chat,) = engine.chats()
    assert (chat["max_tokens"], chat["temperature"], chat["seed"]) == (7, 0.5, 3)


async def test_what_nobody_chose_is_a_quarter_of_a_small_context_at_most(opened: Open) -> None:
    engine = ChatEngine()
    stand = await opened(engine)
    stand.gateway.set_replicas(MODEL, [replace(one, max_model_len=400) for one in stand.replicas.of(MODEL)])
    await ask(stand, "answer", QUESTION)
    assert engine.chats()[0]["max_tokens"] == 100


async def test_with_a_context_the_prompt_has_it_and_what_to_say_if_it_does_not_help(opened: Open) -> None:
    engine = ChatEngine()
    stand = await opened(engine)
    await ask(stand, "answer", {"inputs": {"question": "Why?", "context": "The sky is blue."}})
    (chat,) = engine.chats()
    assert "The sky is blue." in contents(chat)
    assert "The context does not contain the answer." in contents(chat)


async def test_text_is_streamed_as_a_chat_is(opened: Open) -> None:
    stand = await opened(ChatEngine("one two"))
    answer = await ask(stand, "answer", {**QUESTION, "stream": True})
    *events, last, done = answer.body.decode().split("\n\n")[:-1]
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert [orjson.loads(event[6:])["choices"][0]["delta"]["content"] for event in events] == ["one ", "two "]
    assert orjson.loads(last[6:])["usage"]["completion_tokens"] == 2
    assert done == "data: [DONE]"
    await stand.settled()


@pytest.mark.parametrize("stream_it", [True, False])
async def test_the_id_that_a_client_is_told_finds_what_was_done_for_it(opened: Open, stream_it: bool) -> None:
    stand = await opened(ChatEngine("one two"))
    seen: list[RequestRecord] = []
    stand.gateway.app.observers.append(seen.append)
    answer = await ask(stand, "answer", {**QUESTION, "stream": stream_it})
    assert answer.headers["x-request-id"] == seen[0].part_of
    found = stand.gateway.app.recent.find(answer.headers["x-request-id"])
    assert found is not None
    assert found["request_id"] == seen[0].request_id


async def test_json_satisfies_the_callers_schema(opened: Open) -> None:
    engine = ChatEngine('{"name": "Ada"}')
    stand = await opened(engine)
    answer = await ask(stand, "extract", {"inputs": {"text": "I am Ada.", "schema": SCHEMA}, "max_tokens": 9})
    (chat,) = engine.chats()
    assert answer.json()["output"] == {"name": "Ada"}
    assert chat["response_format"]["json_schema"]["schema"] == SCHEMA


@pytest.mark.parametrize(
    ("text", "reason", "code"),
    [
        ('{"name": "A', "length", "answer_cut_off"),
        ('{"name": "A', "stop", "answer_not_json"),
        ("", "length", "answer_cut_off"),
        ("[" * 300 + "]" * 300, "stop", "answer_not_json"),
        ('{"name": 7}', "stop", "schema_not_satisfied"),
        ('{"name": 7}', "length", "schema_not_satisfied"),
    ],
)
async def test_broken_json_is_an_error_never_an_answer(opened: Open, text: str, reason: str, code: str) -> None:
    stand = await opened(ChatEngine(text, reason))
    answer = await ask(stand, "extract", {"inputs": {"text": "I am Ada.", "schema": SCHEMA}, "max_tokens": 3})
    assert (answer.status, answer.error["code"]) == (422, code)


async def test_json_that_is_whole_at_the_last_token_is_an_answer(opened: Open) -> None:
    stand = await opened(ChatEngine('{"name": "Ada"}', "length"))
    answer = await ask(stand, "extract", {"inputs": {"text": "I am Ada.", "schema": SCHEMA}, "max_tokens": 9})
    assert answer.json()["output"] == {"name": "Ada"}


@pytest.mark.parametrize(
    ("name", "body", "status", "code", "words"),
    [
        ("anser", QUESTION, 404, "recipe_not_found", "Did you mean 'answer'?"),
        ("x" * 5000, QUESTION, 404, "recipe_not_found", "There are: answer"),
        ("%61nswer", QUESTION, 404, "recipe_not_found", "Did you mean 'answer'?"),
        ("../models", QUESTION, 404, "recipe_not_found", "no recipe"),
        ("", QUESTION, 404, "recipe_not_found", "no recipe"),
        ("answer", b"{", 400, "invalid_json", "not valid JSON"),
        ("answer", [], 400, "invalid_json", "must be a JSON object"),
        ("answer", b'{"inputs":' + b"[" * 200 + b"]" * 200 + b"}", 400, "invalid_json", "more than 32 deep"),
        ("answer", {}, 400, "invalid_type", "question, context"),
        ("answer", {"inputs": {}}, 400, "missing_required_parameter", "The input 'question' is missing"),
        ("answer", {"question": "Why?"}, 400, "unknown_parameter", "goes into 'inputs'"),
        ("answer", {**QUESTION, "max_token": 3}, 400, "unknown_parameter", "Did you mean 'max_tokens'?"),
        ("answer", {**QUESTION, "max_tokens": "3"}, 400, "invalid_value", "whole number"),
        ("answer", {**QUESTION, "max_tokens": 5000}, 400, "invalid_value", "may be 4096"),
        ("answer", {**QUESTION, "temperature": 9}, 400, "invalid_value", "from 0 to 2"),
        ("answer", {**QUESTION, "stream": "yes"}, 400, "invalid_value", "true or false"),
        ("answer", {**QUESTION, "model": "gpt"}, 404, "model_not_found", "does not exist"),
        ("extract", {"inputs": {"text": "a", "schema": SCHEMA}, "stream": True}, 400, "unsupported_parameter", "text"),
        ("extract", {"inputs": {"text": "a", "schema": {"$ref": "#"}}}, 400, "invalid_value", "back to itself"),
        ("extract", {"inputs": {"text": "a", "schema": {"allOf": []}}}, 400, "invalid_value", "'allOf'"),
    ],
)
async def test_bad_input_is_a_clear_4xx_and_no_engine_is_asked(
    opened: Open, name: str, body: Any, status: int, code: str, words: str
) -> None:
    engine = ChatEngine()
    stand = await opened(engine)
    answer = await ask(stand, name, body)
    assert (answer.status, answer.error["code"]) == (status, code)
    assert words in answer.error["message"]
    assert not engine.asked
    await stand.settled()


async def test_a_prompt_that_is_longer_than_the_engine_takes_is_refused_with_its_words(opened: Open) -> None:
    stand = await opened(ChatEngine())
    answer = await ask(stand, "answer", {"inputs": {"question": "x" * 2000}})
    assert (answer.status, answer.error["code"]) == (400, "engine_refused")
    assert "maximum context length" in answer.error["message"]


async def test_a_call_that_is_refused_is_one_request_and_one_that_is_not_is_its_engine_calls(opened: Open) -> None:
    stand = await opened(ChatEngine())
    seen: list[RequestRecord] = []
    stand.gateway.app.observers.append(seen.append)
    await ask(stand, "nothing", QUESTION)
    answer = await ask(stand, "answer", QUESTION)
    refused, asked = seen
    assert (refused.path, refused.outcome, refused.error_code) == ("/v1/recipes", "refused", "recipe_not_found")
    assert (asked.path, asked.outcome, asked.recipe) == ("/v1/chat/completions", "completed", "answer")
    assert asked.part_of == answer.headers["x-request-id"]
    assert answer.json()["calls"] == [asked.request_id]


async def test_an_explanation_that_cannot_be_is_refused_before_an_engine_is_asked(opened: Open) -> None:
    engine = ChatEngine()
    stand = await opened(engine)
    for more in (
        {"explain": {"input": "context"}},
        {"explain": True, "inputs": {"question": "?", "context": "a " * MOST_CHARS}},
    ):
        answer = await ask(stand, "answer", {**QUESTION, **more})
        assert (answer.status, answer.error["param"]) == (400, "explain")
    assert not engine.asked


async def test_a_name_that_a_client_made_up_is_in_no_record(opened: Open) -> None:
    stand = await opened(ChatEngine())
    seen: list[RequestRecord] = []
    stand.gateway.app.observers.append(seen.append)
    await ask(stand, "answer", {**QUESTION, "model": "made-up"})
    await ask(stand, "made-up", QUESTION)
    assert [(record.model, record.recipe, record.path) for record in seen] == [("", "", "/v1/recipes")] * 2


async def test_whoever_wants_to_know_why_is_told_of_each_engine_call(opened: Open) -> None:
    stand = await opened(ChatEngine())
    (call,) = (await ask(stand, "answer", QUESTION, "x-baryon-explain: 1\r\n")).json()["calls"]
    assert call["replica"] == call["route"]["replica"] == "r0"
    assert call["output_tokens"] == call["actual"]["output_tokens"] == 2


async def test_keys_and_models_of_a_tenant_hold_for_recipes(opened: Open) -> None:
    _, key = new_api_key()
    _, other = new_api_key()
    tenants = {key: Tenant("acme"), other: Tenant("zebra", models=frozenset({"other"}))}
    stand = await opened(ChatEngine(), keyring=keyring_of(tenants))
    stand.catalogue.replace({MODEL: ModelCard(MODEL, "vllm")})
    assert (await ask(stand, "answer", QUESTION)).status == 401
    assert (await stand.ask(get("/v1/recipes"))).status == 401
    asked = await ask(stand, "answer", QUESTION, f"authorization: Bearer {key}\r\n")
    assert asked.status == 200
    refused = await ask(stand, "answer", {**QUESTION, "model": MODEL}, f"authorization: Bearer {other}\r\n")
    assert (refused.status, refused.error["code"]) == (404, "model_not_found")
    ((_, tenant, _), counts), *others = stand.gateway.app.tally.take()
    assert (tenant, counts.requests, others) == ("acme", 1, [])


async def test_with_several_models_the_caller_the_file_or_the_operator_says_which(opened: Open, tmp_path: Path) -> None:
    put(tmp_path, GREET + f"defaults: {{model: {MODEL}}}\n")
    stand = await opened(ChatEngine(), tmp_path)
    stand.catalogue.replace({name: ModelCard(name, "vllm") for name in (MODEL, "other")})
    answer = await ask(stand, "answer", QUESTION)
    assert (answer.status, answer.error["param"]) == (400, "model")
    assert f"{MODEL}, other" in answer.error["message"]
    assert (await ask(stand, "greet", {"inputs": {"who": "Ada"}})).status == 200
    stand.gateway.settings = GatewaySettings(recipes_model=MODEL)
    assert (await ask(stand, "answer", QUESTION)).status == 200


async def test_a_tenant_does_not_learn_of_a_model_that_it_may_not_use(opened: Open, tmp_path: Path) -> None:
    put(tmp_path, GREET + "defaults: {model: hidden}\n")
    keys = {new_api_key()[1]: models for models in (None, frozenset({MODEL}), frozenset({MODEL, "other"}))}
    tenants = {key: Tenant(f"t{at}", models=models) for at, (key, models) in enumerate(keys.items())}
    stand = await opened(ChatEngine(), tmp_path, keyring=keyring_of(tenants))
    stand.gateway.settings = GatewaySettings(recipes_folder=str(tmp_path), recipes_model="hidden")
    stand.catalogue.replace({name: ModelCard(name, "vllm") for name in (MODEL, "hidden", "other")})
    for key, models in keys.items():
        header = f"authorization: Bearer {key}\r\n"
        answers = [await stand.ask(get(f"/v1/recipes{one}", header)) for one in ("", "/greet")]
        answers.append(await ask(stand, "greet", {"inputs": {"who": "Ada"}}, header))
        assert [b"hidden" in answer.body for answer in answers] == [models is None] * 3
        assert answers[-1].status == {None: 503, frozenset({MODEL}): 200}.get(models, 400)


async def test_the_list_says_how_each_is_used_and_what_is_refused(opened: Open, tmp_path: Path) -> None:
    put(tmp_path, GREET)
    put(tmp_path, GREET.replace("{{ who }}", "{{ who.name }}"), "broken")
    stand = await opened(ChatEngine(), tmp_path)
    told = (await stand.ask(get("/v1/recipes"))).json()
    cards = {card["name"]: card for card in told["data"]}
    assert cards["greet"]["source"] == "operator"
    assert cards["answer"]["source"] == "shipped"
    assert cards["greet"]["inputs"]["required"] == ["who"]
    assert (cards["answer"]["streams"], cards["extract"]["streams"]) == (True, False)
    assert told["refused"][0]["problem"].startswith("broken.yaml:12: messages[1].content: reads an attribute")
    one = await stand.ask(get("/v1/recipes/greet"))
    assert one.json() == cards["greet"]
    assert "You greet" not in one.body.decode()


async def test_a_recipe_whose_file_is_refused_says_why(opened: Open, tmp_path: Path) -> None:
    put(tmp_path, GREET.replace("{{ who }}", "{% for x in range(9) %}{% endfor %}"))
    stand = await opened(ChatEngine(), tmp_path)
    answer = await ask(stand, "greet", {"inputs": {"who": "Ada"}})
    assert (answer.status, answer.error["code"]) == (404, "recipe_refused")
    assert "greet.yaml:12: messages[1].content: loops over" in answer.error["message"]


async def test_a_file_that_is_dropped_while_the_gateway_runs_serves_without_a_restart(
    opened: Open, tmp_path: Path
) -> None:
    engine = ChatEngine()
    stand = await opened(engine, tmp_path)
    assert (await ask(stand, "greet", {"inputs": {"who": "Ada"}})).status == 404
    put(tmp_path, GREET)
    await until(lambda: "greet" in stand.gateway.app.recipes.shelf.recipes)
    assert (await ask(stand, "greet", {"inputs": {"who": "Ada"}})).status == 200
    assert contents(engine.chats()[-1]).endswith("Greet Ada.")


@pytest.mark.parametrize(("method", "path"), [("PUT", "/v1/recipes/answer"), ("POST", "/v1/recipes")])
async def test_other_methods_are_405(opened: Open, method: str, path: str) -> None:
    stand = await opened(ChatEngine())
    answer = await stand.ask(get(path, method=method))
    assert answer.status == 405
    assert "GET" in answer.headers["allow"]


async def test_a_prompt_may_begin_the_answer(opened: Open, tmp_path: Path) -> None:
    put(tmp_path, GREET.replace("output:", "  - {role: assistant, content: 'Dear {{ who }},'}\noutput:"))
    engine = ChatEngine()
    stand = await opened(engine, tmp_path)
    await ask(stand, "greet", {"inputs": {"who": "Ada"}})
    (chat,) = engine.chats()
    assert chat["messages"][-1] == {"role": "assistant", "content": "Dear Ada,"}
    assert (chat["add_generation_prompt"], chat["continue_final_message"]) == (False, True)


async def test_pipelined_calls_are_answered_in_order(opened: Open) -> None:
    stand = await opened(ChatEngine(lambda chat: contents(chat)[-2:]))
    client = await stand.client()
    for number in (1, 2, 3):
        client.send(post("/v1/recipes/answer", {"inputs": {"question": f"number {number}?"}}))
    assert [(await client.answer()).json()["output"] for _ in range(3)] == ["1?", "2?", "3?"]


async def test_a_stream_ends_whole_for_a_kept_connection(opened: Open) -> None:
    stand = await opened(stream(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n', b"data: [DONE]\n\n"))
    client = await stand.client()
    for _ in range(2):
        client.send(post("/v1/recipes/answer", {**QUESTION, "stream": True}))
        assert (await client.answer()).body.endswith(b"data: [DONE]\n\n")
