"""What happens when replicas refuse, die, are full or are not there yet."""

import asyncio
from typing import Any

import pytest

from deployments.gateway.catalogue import Scaling
from deployments.gateway.settings import GatewaySettings
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import MODEL, STREAMING, TOKEN, OpenStand, post, until
from tests.unit.gateway.scripted_engine import (
    Exchange,
    Script,
    hang_up,
    never_answer,
    stream,
    stream_then_die,
    unary,
)


async def speak_another_protocol(exchange: Exchange) -> None:
    exchange.writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n")


DEAD_BEFORE_A_TOKEN = {
    "reset": hang_up,
    "died after its head": stream_then_die(),
    "speaks another protocol": speak_another_protocol,
}


@pytest.mark.parametrize("death", list(DEAD_BEFORE_A_TOKEN.values()), ids=list(DEAD_BEFORE_A_TOKEN))
async def test_another_replica_answers_for_one_that_dies_before_its_first_token(
    start_engine: StartEngine, open_stand: OpenStand, death: Script
) -> None:
    dying, healthy = await start_engine(death), await start_engine(stream(b"data: 1\n\n"))
    gateway = await open_stand(dying, healthy)
    while not dying.exchanges:
        answer = await gateway.ask(post(body=STREAMING))
        assert (answer.status, answer.body, answer.whole) == (200, b"data: 1\n\n", True)
        assert answer.headers["x-baryon-replica"] == "r1"
    assert gateway.gateway.app._suspects.now() == {"r0"}
    for _ in range(10):
        await gateway.ask(post(body=STREAMING))
    assert len(dying.exchanges) == 1
    await gateway.settled()


async def test_another_replica_answers_for_one_that_leaves(start_engine: StartEngine, open_stand: OpenStand) -> None:
    """It says so, as `engine.guard` does, to a gateway that has not heard of it."""
    leaving, healthy = await start_engine(unary(b"{}", b"421 Misdirected Request")), await start_engine(unary(b"{}"))
    gateway = await open_stand(leaving, healthy)
    for _ in range(10):
        answer = await gateway.ask(post())
        assert (answer.status, answer.headers["x-baryon-replica"]) == (200, "r1")
    assert leaving.exchanges
    await gateway.settled()


async def test_another_replica_answers_for_one_that_refuses_connections(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    dead, healthy = await start_engine(hang_up), await start_engine(unary(b"{}"))
    await dead.stop()
    gateway = await open_stand(dead, healthy)
    for _ in range(10):
        assert (await gateway.ask(post())).headers["x-baryon-replica"] == "r1"
    await gateway.settled()


@pytest.mark.parametrize("replicas", [1, 2])
async def test_all_replicas_gone_is_a_503_that_says_when_to_come_back(
    start_engine: StartEngine, open_stand: OpenStand, replicas: int
) -> None:
    gateway = await open_stand(*[await start_engine(hang_up) for _ in range(replicas)])
    answer = await gateway.ask(post())
    assert (answer.status, answer.error["code"]) == (503, "engine_unavailable")
    assert answer.headers["retry-after"] == "1"
    await gateway.settled()


async def test_full_replicas_are_a_503_where_nobody_may_wait_and_free_ones_serve_again(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    engine = await start_engine(never_answer)
    gateway = await open_stand(engine, max_in_flight=2, settings=GatewaySettings(queue_max_waiting=0))
    holders = [await gateway.client() for _ in range(2)]
    for holder in holders:
        holder.send(post())
    await until(lambda: len(engine.exchanges) == 2)
    answer = await gateway.ask(post())
    assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "at_capacity", "1")
    for holder in holders:
        holder.leave()
    await gateway.settled()
    engine.script = unary(b"{}")
    assert (await gateway.ask(post())).status == 200


async def test_load_is_spread_over_replicas(start_engine: StartEngine, open_stand: OpenStand) -> None:
    engines = [await start_engine(never_answer) for _ in range(2)]
    gateway = await open_stand(*engines)
    for _ in range(4):
        (await gateway.client()).send(post())
    await until(lambda: sum(len(engine.exchanges) for engine in engines) == 4)
    assert [len(engine.exchanges) for engine in engines] == [2, 2]


async def test_a_model_without_a_replica_says_what_stage_it_is_in(open_stand: OpenStand) -> None:
    gateway = await open_stand()
    answer = await gateway.ask(post())
    assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "model_not_ready", "5")
    assert "load, 40 s" in answer.error["message"]


async def test_an_engine_that_closed_an_idle_connection_is_asked_again_unseen(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    async def answer_once(exchange: Exchange) -> None:
        await unary(b"{}")(exchange)
        await exchange.reader.readuntil(b"\r\n\r\n")
        exchange.writer.transport.abort()

    engine = await start_engine(answer_once)
    gateway = await open_stand(engine)
    for _ in range(3):
        assert (await gateway.ask(post())).status == 200
    assert engine.connections == 3
    assert not gateway.gateway.app._suspects.now()


async def test_engine_connections_are_used_again(start_engine: StartEngine, open_stand: OpenStand) -> None:
    engine = await start_engine(unary(b"{}"))
    gateway = await open_stand(engine)
    for _ in range(5):
        await gateway.ask(post())
        await gateway.settled()
    assert engine.connections == 1


VLLM_ERROR = b'{"error":{"message":"max_tokens is too large","type":"BadRequestError","param":"max_tokens","code":400}}'


async def test_what_an_engine_says_of_a_bad_request_reaches_the_client(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await open_stand(await start_engine(unary(VLLM_ERROR, b"400 Bad Request")))
    answer = await gateway.ask(post())
    assert (answer.status, answer.body) == (400, VLLM_ERROR)
    assert answer.headers["content-type"] == "application/json"
    await gateway.settled()


async def test_a_bad_request_refused_in_plain_text_still_gets_an_error_document(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    script = unary(b"Invalid HTTP request received.", b"400 Bad Request", b"text/plain")
    gateway = await open_stand(await start_engine(script))
    answer = await gateway.ask(post())
    assert (answer.status, answer.error["code"]) == (400, "engine_refused")


@pytest.mark.parametrize(
    ("status", "shown", "code"),
    [
        (b"500 Internal Server Error", 500, "engine_error"),
        (b"502 Bad Gateway", 500, "engine_error"),
        (b"503 Service Unavailable", 503, "at_capacity"),
        (b"404 Not Found", 404, "unsupported_route"),
    ],
)
async def test_an_engines_internal_words_never_reach_the_client(
    start_engine: StartEngine, open_stand: OpenStand, status: bytes, shown: int, code: str
) -> None:
    engine = await start_engine(unary(b'{"error":"Traceback: /opt/engine.py CUDA out of memory"}', status))
    gateway = await open_stand(engine)
    client = await gateway.client()
    client.send(post())
    answer = await client.answer()
    assert (answer.status, answer.error["code"]) == (shown, code)
    assert b"Traceback" not in answer.body
    await gateway.settled()


@pytest.mark.parametrize(
    "script",
    [unary(b"{}"), unary(b"{}", b"500 Internal Server Error"), hang_up, stream_then_die(b"data: 1\n\n"), never_answer],
)
async def test_no_answer_names_an_internal_address_or_token(
    start_engine: StartEngine, open_stand: OpenStand, script: Script
) -> None:
    engine = await start_engine(script)
    gateway = await open_stand(engine, settings=GatewaySettings(first_token_timeout_s=0.1))
    client = await gateway.client()
    client.send(post(headers="connection: close\r\n"))
    raw = await asyncio.wait_for(client.reader.read(), 5)
    assert raw.startswith(b"HTTP/1.1 ")
    for secret in (TOKEN, "127.0.0.1", str(engine.port), "uvicorn"):
        assert secret.encode() not in raw
    assert TOKEN not in repr(gateway.replicas.of(MODEL))


async def test_a_leaving_replica_gets_nothing_new_while_there_is_another(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    leaving, staying = await start_engine(unary(b"{}")), await start_engine(unary(b"{}"))
    gateway = await open_stand()
    gateway.have(leaving, staying, leaving=[0])
    for _ in range(20):
        assert (await gateway.ask(post())).headers["x-baryon-replica"] == "r1"
    assert not leaving.exchanges
    gateway.have(leaving, leaving=[0])
    assert (await gateway.ask(post())).headers["x-baryon-replica"] == "r0"


async def test_a_replica_that_goes_next_gets_only_what_no_other_has_room_for(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    going, staying = await start_engine(never_answer), await start_engine(never_answer)
    gateway = await open_stand()
    gateway.have(going, staying, max_in_flight=3)
    gateway.know(scaling=Scaling(reluctant=frozenset({"r0"})))
    for _ in range(3):
        (await gateway.client()).send(post())
    await until(lambda: len(staying.exchanges) == 3)
    assert not going.exchanges
    (await gateway.client()).send(post())
    await until(lambda: len(going.exchanges) == 1)


class Ending:
    """A replica whose end begins when the first request is on it: it leaves the list, then ends that request so."""

    def __init__(self, end: Script) -> None:
        self.end = end
        self.begins = asyncio.Event()
        self.may_end = asyncio.Event()

    async def script(self, exchange: Exchange) -> None:
        self.begins.set()
        await self.may_end.wait()
        await self.end(exchange)


ENDS = {
    "reset": hang_up,
    "head of a stream and no more": stream_then_die(),
    "its engine fails on what it has": unary(b"{}", b"500 Internal Server Error"),
    "its engine takes no more": unary(b"{}", b"503 Service Unavailable"),
}


@pytest.mark.parametrize("body", [STREAMING, None], ids=["stream", "whole"])
@pytest.mark.parametrize("end", list(ENDS.values()), ids=list(ENDS))
async def test_a_request_that_races_with_its_replicas_end_is_answered_by_another(
    start_engine: StartEngine, open_stand: OpenStand, end: Script, body: Any
) -> None:
    ending = Ending(end)
    going = await start_engine(ending.script)
    staying = await start_engine(stream(b"data: 1\n\n") if body else unary(b"{}"))
    gateway = await open_stand()
    gateway.have(going)
    client = await gateway.client()
    client.send(post(body=body))
    await asyncio.wait_for(ending.begins.wait(), 5)
    gateway.have(going, staying, leaving=[0])
    ending.may_end.set()
    answer = await client.answer()
    assert (answer.status, answer.body, answer.whole) == (200, b"data: 1\n\n" if body else b"{}", True)
    assert answer.headers["x-baryon-replica"] == "r1"
    await gateway.settled()


async def test_a_failure_of_a_replica_that_stays_is_not_tried_on_the_others(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    engines = [await start_engine(unary(b"{}", b"500 Internal Server Error")) for _ in range(2)]
    gateway = await open_stand(*engines)
    assert (await gateway.ask(post())).error["code"] == "engine_error"
    assert sum(len(engine.exchanges) for engine in engines) == 1


async def test_no_stream_that_has_begun_is_begun_again_elsewhere(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    ending = Ending(stream_then_die(b"data: 1\n\n"))
    going, staying = await start_engine(ending.script), await start_engine(stream(b"data: 2\n\n"))
    gateway = await open_stand()
    gateway.have(going)
    client = await gateway.client()
    client.send(post(body=STREAMING))
    await asyncio.wait_for(ending.begins.wait(), 5)
    gateway.have(going, staying, leaving=[0])
    ending.may_end.set()
    answer = await client.answer()
    assert answer.body.startswith(b"data: 1\n\n")
    assert not answer.whole
    assert not staying.exchanges
