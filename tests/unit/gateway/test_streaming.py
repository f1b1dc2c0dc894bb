"""Bytes arrive as the engine sent them, when it sent them; an answer that is not whole never looks whole."""

import asyncio

import pytest

from deployments.gateway.answer_tap import LARGEST_HELD_BYTES
from deployments.gateway.settings import GatewaySettings
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import MODEL, STREAMING, OpenStand, post, until
from tests.unit.gateway.scripted_engine import (
    EVENT_STREAM,
    Exchange,
    Script,
    never_answer,
    stream,
    stream_then_die,
    stream_then_stall,
    unary,
)

EVENTS = [b'data: {"n":%d}\n\n' % n for n in range(5)]


async def test_a_stream_arrives_byte_for_byte(start_engine: StartEngine, open_stand: OpenStand) -> None:
    gateway = await open_stand(await start_engine(stream(*EVENTS, b"data: [DONE]\n\n")))
    answer = await gateway.ask(post(body=STREAMING))
    assert (answer.status, answer.body, answer.whole) == (200, b"".join(EVENTS) + b"data: [DONE]\n\n", True)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    await gateway.settled()


async def test_each_chunk_is_passed_on_before_the_next_exists(start_engine: StartEngine, open_stand: OpenStand) -> None:
    more = asyncio.Semaphore(0)

    async def script(exchange: Exchange) -> None:
        exchange.writer.write(EVENT_STREAM)
        for event in EVENTS:
            await more.acquire()
            exchange.chunk(event)
        exchange.writer.write(b"0\r\n\r\n")

    gateway = await open_stand(await start_engine(script))
    client = await gateway.client()
    client.send(post(body=STREAMING))
    more.release()
    await client.head()
    for event in EVENTS:
        assert await client.chunk() == event
        more.release()
    assert await client.chunk() == b""


async def test_an_answer_that_is_not_streamed_keeps_its_length(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    engine = await start_engine(unary(b'{"id":"x"}'))
    gateway = await open_stand(engine)
    answer = await gateway.ask(post())
    assert (answer.status, answer.body) == (200, b'{"id":"x"}')
    assert answer.headers["content-length"] == "10"
    assert answer.headers["x-baryon-replica"] == "r0"
    assert engine.exchanges[0].body == post().partition(b"\r\n\r\n")[2]


async def test_a_large_answer_arrives_whole(start_engine: StartEngine, open_stand: OpenStand) -> None:
    body = b"[" + b"0.123," * 500_000 + b"0]"
    gateway = await open_stand(await start_engine(unary(body)))
    assert (await gateway.ask(post("/v1/embeddings"))).body == body


@pytest.mark.parametrize("script", [stream_then_stall(EVENTS[0]), never_answer])
async def test_a_client_that_leaves_takes_its_engine_connection_with_it(
    start_engine: StartEngine, open_stand: OpenStand, script: object
) -> None:
    engine = await start_engine(script)  # type: ignore[arg-type]
    gateway = await open_stand(engine)
    client = await gateway.client()
    client.send(post(body=STREAMING))
    await until(lambda: bool(engine.exchanges))
    if script is not never_answer:
        await client.head()
    client.leave()
    await asyncio.wait_for(engine.exchanges[0].gone.wait(), 5)
    await gateway.settled()


async def test_an_engine_silent_before_its_first_token_is_a_504(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    engine = await start_engine(never_answer)
    gateway = await open_stand(engine, settings=GatewaySettings(first_token_timeout_s=0.1))
    answer = await gateway.ask(post(body=STREAMING))
    assert (answer.status, answer.error["code"]) == (504, "first_token_timeout")
    await asyncio.wait_for(engine.exchanges[0].gone.wait(), 5)
    await gateway.settled()


async def test_a_head_without_a_token_is_not_yet_an_answer(start_engine: StartEngine, open_stand: OpenStand) -> None:
    gateway = await open_stand(
        await start_engine(stream_then_stall()),
        settings=GatewaySettings(first_token_timeout_s=0.1, idle_stream_timeout_s=60),
    )
    answer = await gateway.ask(post(body=STREAMING))
    assert (answer.status, answer.error["code"]) == (504, "first_token_timeout")


async def test_a_stream_that_stands_still_ends_with_an_error_event(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    engine = await start_engine(stream_then_stall(EVENTS[0]))
    gateway = await open_stand(engine, settings=GatewaySettings(idle_stream_timeout_s=0.1))
    answer = await gateway.ask(post(body=STREAMING))
    assert answer.body.startswith(EVENTS[0] + b'data: {"error":{')
    assert b"idle_stream" in answer.body
    assert not answer.whole
    await asyncio.wait_for(engine.exchanges[0].gone.wait(), 5)
    await gateway.settled()


async def test_a_stream_whose_engine_dies_ends_with_an_error_event(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await open_stand(await start_engine(stream_then_die(EVENTS[0])))
    answer = await gateway.ask(post(body=STREAMING))
    assert answer.body.startswith(EVENTS[0])
    assert b'"code":"engine_unavailable"' in answer.body
    assert not answer.whole
    await gateway.settled()


async def test_the_error_event_of_a_messages_stream_is_anthropics(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await open_stand(await start_engine(stream_then_die(EVENTS[0])))
    answer = await gateway.ask(post("/v1/messages", STREAMING))
    assert b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"' in answer.body
    assert not answer.whole


def cut_short(document: bytes) -> Script:
    async def script(exchange: Exchange) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (len(document) + 1)
        exchange.writer.write(head + document)
        await exchange.writer.drain()
        exchange.writer.close()

    return script


async def test_of_a_document_cut_short_the_client_sees_nothing_and_another_replica_answers(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await open_stand(await start_engine(cut_short(b"{")))
    answer = await gateway.ask(post())
    assert (answer.status, answer.error["code"]) == (503, "engine_unavailable")
    gateway = await open_stand(await start_engine(cut_short(b"{")), await start_engine(unary(b"{}")))
    assert {(await gateway.ask(post())).body for _ in range(4)} == {b"{}"}
    await gateway.settled()


async def test_a_very_large_document_is_passed_on_before_it_is_whole_and_nothing_is_added_if_it_is_cut(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    document = b"[" * (LARGEST_HELD_BYTES + 2**16)
    gateway = await open_stand(await start_engine(cut_short(document)), await start_engine(cut_short(document)))
    answer = await gateway.ask(post())
    assert (answer.body, answer.whole) == (document, False)
    await gateway.settled()


async def test_a_slow_reader_holds_its_engine_back_and_still_gets_everything(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    chunk, count, sent = b"x" * 65_536, 1024, 0

    async def script(exchange: Exchange) -> None:
        nonlocal sent
        exchange.writer.write(EVENT_STREAM)
        for _ in range(count):
            exchange.chunk(chunk)
            await exchange.writer.drain()
            sent += 1
        exchange.writer.write(b"0\r\n\r\n")

    gateway = await open_stand(await start_engine(script))
    client = await gateway.client()
    client.send(post(body=STREAMING))
    await client.head()
    before = -1
    while sent != before:
        before = sent
        await asyncio.sleep(0.3)
    assert sent < count / 2
    received = 0
    while piece := await client.chunk():
        received += len(piece)
    assert received == count * len(chunk)
    await gateway.settled()


async def test_an_engine_connection_paused_by_a_slow_reader_serves_the_next_request(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    body = b"x" * 8_000_000
    engine = await start_engine(unary(body))
    gateway = await open_stand(engine)
    slow = await gateway.client()
    slow.send(post())
    await slow.head()
    await asyncio.sleep(0.2)
    assert len(await slow.reader.readexactly(len(body))) == len(body)
    await gateway.settled()
    assert (await gateway.ask(post())).body == body


async def test_requests_of_a_client_that_does_not_read_wait(start_engine: StartEngine, open_stand: OpenStand) -> None:
    engine = await start_engine(unary(b"x" * 16_000_000))
    gateway = await open_stand(engine)
    client = await gateway.client()
    client.send(post() * 3)
    await until(lambda: bool(engine.exchanges))
    await asyncio.sleep(0.3)
    assert len(engine.exchanges) == 1
    for _ in range(3):
        assert len((await client.answer()).body) == 16_000_000


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/tokenize"])
async def test_the_engine_sees_the_route_and_none_of_the_clients_headers(
    start_engine: StartEngine, open_stand: OpenStand, path: str
) -> None:
    engine = await start_engine(unary(b"{}"))
    gateway = await open_stand(engine)
    headers = "authorization: Bearer sk-client\r\ncookie: a=b\r\nx-baryon-internal-token: guess\r\n"
    assert (await gateway.ask(post(path + "?beta=true", {"model": MODEL}, headers))).status == 200
    head = engine.exchanges[0].head.decode()
    assert head.startswith(f"POST {path} HTTP/1.1\r\n")
    assert "sk-client" not in head
    assert "cookie" not in head
    assert "guess" not in head
