"""Which replica a request reaches, what the client is told of it, and what the router learns."""

import logging
from typing import Any

import orjson
import pytest

from deployments.gateway.routing.router import Router
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import MODEL, STREAMING, OpenStand, Stand, post, until
from tests.unit.gateway.scripted_engine import Exchange, ScriptedEngine, hang_up, never_answer, stream, unary

EXPLAIN = "x-baryon-explain: 1\r\n"
TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
USAGE = (
    b'data: {"choices":[],"usage":{"prompt_tokens":900,"completion_tokens":2,'
    b'"prompt_tokens_details":{"cached_tokens":640}},"metrics":{"time_to_first_token_ms":4.5}}\n\n'
)
DONE = b"data: [DONE]\n\n"
ANSWER = USAGE[6:-2]


def body(text: str = "Hi", **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text * 400}], **more}


def router(gateway: Stand) -> Router:
    return gateway.gateway.app.routers.named(MODEL).router


async def engines(start_engine: StartEngine, count: int = 2) -> list[ScriptedEngine]:
    return [await start_engine(stream(TOKEN, TOKEN, USAGE, DONE)) for _ in range(count)]


async def test_a_conversation_stays_with_the_replica_that_has_it_cached(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    started = await engines(start_engine, 3)
    gateway = await open_stand(*started)
    for text in ("one", "two", "three", "four"):
        homes = {
            (await gateway.ask(post(body=body(text + " ", stream=True)))).headers["x-baryon-replica"] for _ in range(5)
        }
        assert len(homes) == 1
    await gateway.settled()


async def test_the_engine_is_asked_for_usage_and_a_client_who_did_not_ask_does_not_see_it(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    (engine,) = await engines(start_engine, 1)
    gateway = await open_stand(engine)
    answer = await gateway.ask(post(body=STREAMING))
    assert answer.body == TOKEN + TOKEN + DONE
    assert orjson.loads(engine.exchanges[0].body)["stream_options"] == {
        "include_usage": True,
        "continuous_usage_stats": True,
    }
    asked = {**STREAMING, "stream_options": {"include_usage": True}}
    assert (await gateway.ask(post(body=asked))).body == TOKEN + TOKEN + USAGE + DONE
    assert router(gateway).accuracy.requests == 2
    assert router(gateway).accuracy.actual_hit_tokens == 1280


async def test_a_receipt_says_where_and_why_before_and_what_came_of_it_after(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await open_stand(*await engines(start_engine))
    answer = await gateway.ask(post(body=body(stream=True), headers=EXPLAIN))
    route = orjson.loads(answer.headers["x-baryon-route"])
    assert route["replica"] == answer.headers["x-baryon-replica"]
    assert {candidate["replica"] for candidate in route["candidates"]} == {"r0", "r1"}
    for candidate in route["candidates"]:
        parts = ("wait_ms", "room_ms", "prefill_ms", "cache_ms", "others_ms", "decode_ms", "crowd_ms", "miss_ms")
        assert candidate["total_ms"] == pytest.approx(sum(candidate[part] for part in parts), abs=0.1)
    assert route["predicted_hit_tokens"] == 0
    assert route["predicted_ttft_ms"] > 0
    before, comment, after = answer.body.partition(b": baryon ")
    assert before == TOKEN + TOKEN
    receipt, _, rest = after.partition(b"\n\n")
    assert rest == DONE
    outcome = orjson.loads(receipt)
    assert outcome["replica"] == route["replica"]
    assert outcome["hit_tokens"] == 640
    assert outcome["prompt_tokens"] == 900
    assert 0 < outcome["ttft_ms"] <= outcome["e2e_ms"]
    assert comment


async def test_a_whole_answers_receipt_is_in_its_headers(start_engine: StartEngine, open_stand: OpenStand) -> None:
    gateway = await open_stand(await start_engine(unary(ANSWER)))
    answer = await gateway.ask(post(body=body(), headers=EXPLAIN))
    assert answer.body == ANSWER
    outcome = orjson.loads(answer.headers["x-baryon-actual"])
    assert (outcome["hit_tokens"], outcome["output_tokens"], outcome["ttft_ms"]) == (640, 2, 4.5)


async def test_nobody_who_does_not_ask_gets_a_receipt(start_engine: StartEngine, open_stand: OpenStand) -> None:
    gateway = await open_stand(*await engines(start_engine, 1))
    for headers in ("", "x-baryon-explain: 0\r\n"):
        answer = await gateway.ask(post(body=body(stream=True), headers=headers))
        assert not {"x-baryon-route", "x-baryon-actual"} & answer.headers.keys()
        assert b": baryon" not in answer.body


async def test_a_dialect_without_a_last_word_gets_its_receipt_at_the_end(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    last = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    gateway = await open_stand(await start_engine(stream(TOKEN, last)))
    answer = await gateway.ask(post("/v1/messages", body=body(stream=True), headers=EXPLAIN))
    assert answer.body.startswith(TOKEN + last + b": baryon {")
    assert answer.body.endswith(b"}\n\n")


async def test_the_debug_log_has_the_same_record(
    start_engine: StartEngine, open_stand: OpenStand, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = await open_stand(*await engines(start_engine))
    with caplog.at_level(logging.DEBUG, logger="baryon.routing"):
        await gateway.ask(post(body=body(stream=True)))
        await gateway.settled()
    record = orjson.loads(caplog.messages[-1])
    assert record["hit_tokens"] == 640
    assert len(record["candidates"]) == 2


async def test_a_session_stays_together_when_its_prompts_have_nothing_in_common(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await open_stand(*await engines(start_engine, 4))
    replicas: dict[int, set[str]] = {}
    for session in range(6):
        for turn in range(4):
            answer = await gateway.ask(
                post(body=body(f"{session} {turn}", stream=True), headers=f"x-baryon-session: s{session}\r\n")
            )
            replicas.setdefault(session, set()).add(answer.headers["x-baryon-replica"])
    assert all(len(homes) == 1 for homes in replicas.values())
    assert len(set.union(*replicas.values())) > 1


async def test_a_session_whose_replica_is_dead_goes_on_elsewhere(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    dead, healthy = await start_engine(hang_up), await start_engine(stream(TOKEN, DONE))
    gateway = await open_stand(dead, healthy)
    for session in range(8):
        answer = await gateway.ask(post(body=STREAMING, headers=f"x-baryon-session: {session}\r\n"))
        assert (answer.status, answer.headers["x-baryon-replica"]) == (200, "r1")
    await gateway.settled()


async def test_an_answer_that_never_came_is_taken_off_the_account(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    engine = await start_engine(never_answer)
    gateway = await open_stand(engine)
    clients = [await gateway.client() for _ in range(3)]
    for number, client in enumerate(clients):
        client.send(post(body=body(f"{number}", stream=True)))
    await until(lambda: len(engine.exchanges) == 3)
    assert router(gateway).requests_on("r0") == 3
    for client in clients:
        client.leave()
    await gateway.settled()
    assert router(gateway).requests_on("r0") == 0


async def test_the_engine_is_told_what_other_gateways_should_know(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    engine = await start_engine(stream(TOKEN, DONE))
    gateway = await open_stand(engine)
    answer = await gateway.ask(post(body=body(stream=True)))
    name, key, prompt_tokens, hit_tokens, blocks = dispatch(engine.exchanges[0])
    assert name == gateway.gateway.app.routers.gateway_id
    assert key == answer.headers["x-request-id"]
    assert int(prompt_tokens) > 100
    assert hit_tokens == "0"
    assert len(blocks) > 20


def dispatch(exchange: Exchange) -> list[str]:
    lines = exchange.head.decode().split("\r\n")
    return next(line for line in lines if line.startswith("x-baryon-dispatch: ")).split()[1:]
