"""Recipes of a tenant whose personal data does not leave the gateway."""

import asyncio
from dataclasses import replace
from typing import Any

import orjson
import pytest

from deployments.gateway.privacy.redactor import Redacted, Redactor
from deployments.gateway.privacy.restoration import Restoration
from deployments.gateway.recipes.restored_answer import restored_answer
from deployments.gateway.tenants.tenant import Privacy, Tenant
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import MODEL, Answer, OpenStand, Stand, post, until
from tests.unit.gateway.keys import keyring_of, new_key
from tests.unit.gateway.recipes.engine import CONTEXT_TOKENS, ChatEngine
from tests.unit.gateway.scripted_engine import Exchange
from tests.unit.privacy.streams import CHAT, documents_in, read

ANN, BOB = "ann@example.com", "bob@example.com"
TEXT = f"{ANN} wrote to {BOB}."
PRIVACIES: tuple[Privacy, ...] = ("off", "redact", "restore")
KEYS = {privacy: new_key() for privacy in PRIVACIES}


async def opened(start_engine: StartEngine, open_stand: OpenStand, engine: Any) -> Stand:
    keyring = keyring_of({key: Tenant(privacy, privacy=privacy) for privacy, key in KEYS.items()})
    return await open_stand(await start_engine(engine), keyring=keyring)


async def ask(stand: Stand, privacy: Privacy, name: str, headers: str = "", **body: Any) -> Answer:
    return await stand.ask(post(f"/v1/recipes/{name}", body, f"authorization: Bearer {KEYS[privacy]}\r\n{headers}"))


async def test_what_the_caller_says_is_hidden_from_all_that_the_recipe_asks(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    engine = ChatEngine("To <EMAIL_2> from <EMAIL_1>")
    stand = await opened(start_engine, open_stand, engine)
    outputs = {}
    for privacy in PRIVACIES:
        answer = await ask(stand, privacy, "answer", inputs={"question": f"Who is {BOB}?", "context": TEXT})
        outputs[privacy] = answer.json()["output"]
        assert answer.headers.get("x-baryon-redacted") == (None if privacy == "off" else "EMAIL=2")
    assert outputs["off"] == outputs["redact"] == "To <EMAIL_2> from <EMAIL_1>"
    assert outputs["restore"] in (f"To {ANN} from {BOB}", f"To {BOB} from {ANN}")
    assert ["@" in str(chat) for chat in engine.chats()] == [True, False, False]


async def test_a_stream_is_restored(start_engine: StartEngine, open_stand: OpenStand) -> None:
    engine = ChatEngine("From <EMAIL_1> then")
    stand = await opened(start_engine, open_stand, engine)
    answer = await ask(stand, "restore", "write", stream=True, inputs={"task": TEXT})
    assert read(CHAT, documents_in(answer.body))["text", 0] == f"From {ANN} then "
    assert "@" not in str(engine.asked)
    answer = await ask(stand, "redact", "write", stream=True, inputs={"task": TEXT})
    assert "<EMAIL_1>" in read(CHAT, documents_in(answer.body))["text", 0]


async def test_a_document_is_restored_in_its_values(start_engine: StartEngine, open_stand: OpenStand) -> None:
    engine = ChatEngine('{"from": "<EMAIL_1>"}')
    stand = await opened(start_engine, open_stand, engine)
    schema = {"type": "object", "properties": {"from": {"type": "string"}}, "required": ["from"]}
    answer = await ask(stand, "restore", "extract", max_tokens=64, inputs={"text": TEXT, "schema": schema})
    assert answer.json()["output"] == {"from": ANN}


async def test_a_document_that_its_data_make_too_long_for_the_schema_is_an_error(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    stand = await opened(start_engine, open_stand, ChatEngine('{"from": "<EMAIL_1>"}'))
    schema = {"type": "object", "properties": {"from": {"type": "string", "maxLength": 10}}}
    answer = await ask(stand, "restore", "extract", max_tokens=64, inputs={"text": TEXT, "schema": schema})
    assert (answer.status, answer.error["code"]) == (422, "schema_not_satisfied")


async def test_a_long_text_stays_hidden_between_its_pieces(start_engine: StartEngine, open_stand: OpenStand) -> None:
    engine = ChatEngine("<EMAIL_1> wrote")
    stand = await opened(start_engine, open_stand, engine)
    known = [replace(one, max_model_len=CONTEXT_TOKENS) for one in stand.replicas.of(MODEL)]
    stand.gateway.set_replicas(MODEL, known)
    answer = await ask(stand, "restore", "summarize", max_tokens=60, inputs={"text": f"{TEXT} " * 120})
    assert answer.json().get("output") == f"{ANN} wrote", answer.json()
    assert answer.json()["pieces"] > 1
    assert "@" not in str(engine.asked)


async def test_labels_that_are_personal_data_come_back_as_they_were(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    asked: list[bytes] = []

    async def likes_the_second(exchange: Exchange) -> None:
        """A token is a character; the engine prefers 2."""
        asked.append(exchange.body)
        document = orjson.loads(exchange.body)
        if exchange.head.startswith(b"POST /tokenize"):
            tokens = [ord(sign) for message in document["messages"] for sign in message["content"]]
            told: dict[str, Any] = {"count": len(tokens), "max_model_len": 1000, "tokens": tokens}
        else:
            wanted = document["sampling_params"]["logprob_token_ids"]
            top = [{"token_id": one, "logprob": 0.0 if one == ord("2") else -3.0} for one in wanted]
            usage = {"prompt_tokens": 9, "completion_tokens": 1}
            told = {"usage": usage, "choices": [{"logprobs": {"content": [{"token_id": 0, "top_logprobs": top}]}}]}
        body = orjson.dumps(told)
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        exchange.writer.write(head % len(body) + body)

    stand = await opened(start_engine, open_stand, likes_the_second)
    answer = (await ask(stand, "restore", "classify", inputs={"text": TEXT, "labels": [ANN, BOB]})).json()
    assert set(answer["probabilities"]) == {ANN, BOB}
    assert answer["output"] in (ANN, BOB)
    assert all(b"@" not in body for body in asked)


def test_segments_of_an_explanation_are_those_of_the_text_that_was_sent() -> None:
    segments = [
        {"begin": 0, "end": 12, "text": "<EMAIL_1> a ", "contribution": 1.0},
        {"begin": 12, "end": 14, "text": "b.", "contribution": 0.0},
    ]
    body = orjson.dumps({"output": "x", "explanation": {"input": "text", "segments": segments}})
    restored = orjson.loads(restored_answer(body, Restoration({"<EMAIL_1>": ANN})))
    text = f"{ANN} a b."
    for segment in restored["explanation"]["segments"]:
        assert text[segment["begin"] : segment["end"]] == segment["text"]


async def test_a_recipe_may_not_find_names_for_its_own_tenants_redaction(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    stand = await opened(start_engine, open_stand, ChatEngine())
    answer = await ask(stand, "redact", "answer", headers="x-baryon-names: 1\r\n", inputs={"question": "a"})
    assert (answer.status, answer.error["code"]) == (400, "names_key_redacts")


@pytest.mark.parametrize("privacy", PRIVACIES)
async def test_errors_do_not_tell_what_was_said(
    start_engine: StartEngine, open_stand: OpenStand, privacy: Privacy
) -> None:
    stand = await opened(start_engine, open_stand, ChatEngine("no json"))
    schema = {"type": "object", "properties": {"from": {"type": "string"}}, "required": ["from"]}
    answer = await ask(stand, privacy, "extract", max_tokens=64, inputs={"text": TEXT, "schema": schema})
    assert answer.status == 422
    assert ANN not in answer.body.decode()


async def test_a_client_that_leaves_while_its_data_is_looked_for_costs_no_engine_anything(
    start_engine: StartEngine, open_stand: OpenStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ChatEngine()
    stand = await opened(start_engine, open_stand, engine)
    looking, left = asyncio.Event(), asyncio.Event()
    redact = Redactor.redact

    async def wait(*asked: Any) -> Redacted:
        looking.set()
        await left.wait()
        return await redact(*asked)

    monkeypatch.setattr(Redactor, "redact", wait)
    client = await stand.client()
    body = {"inputs": {"question": TEXT}}
    client.send(post("/v1/recipes/answer", body, f"authorization: Bearer {KEYS['redact']}\r\n"))
    await looking.wait()
    client.leave()
    await until(lambda: not list(stand.gateway._connections))
    left.set()
    await until(lambda: not stand.gateway.app.in_flight())
    assert not engine.asked
