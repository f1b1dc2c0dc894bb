"""One connection, several requests; old clients."""

import asyncio

import httpx
import pytest

from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import MODEL, STREAMING, OpenStand, get, post
from tests.unit.gateway.scripted_engine import Exchange, stream, unary


async def echo(exchange: Exchange) -> None:
    await unary(exchange.body)(exchange)


async def test_a_client_library_keeps_its_connection(start_engine: StartEngine, open_stand: OpenStand) -> None:
    gateway = await open_stand(await start_engine(stream(b"data: 1\n\n")))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.port}") as client:
        for _ in range(3):
            assert (await client.post("/v1/chat/completions", json=STREAMING)).text == "data: 1\n\n"
            assert (await client.get("/v1/models")).json()["data"][0]["id"] == MODEL
        assert len(gateway.gateway._connections) == 1


async def test_pipelined_requests_are_answered_in_order(start_engine: StartEngine, open_stand: OpenStand) -> None:
    gateway = await open_stand(await start_engine(echo))
    client = await gateway.client()
    client.send(b"".join(post(body={"model": MODEL, "seed": n}) + get("/health") for n in range(20)))
    for n in range(20):
        assert (await client.answer()).json()["seed"] == n
        assert (await client.answer()).json()["status"] == "ok"
    await gateway.settled()


async def test_a_request_that_arrives_as_an_answer_ends_waits_its_turn(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await open_stand(await start_engine(echo))
    client = await gateway.client()
    sent = 0
    for n in range(100):
        client.send(post(body={"model": MODEL, "seed": n}))
        sent += 1
        if n % 3 == 0:
            await asyncio.sleep(0)
    assert [(await client.answer()).json()["seed"] for _ in range(sent)] == list(range(100))


async def test_garbage_behind_a_request_does_not_spoil_its_answer(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await open_stand(await start_engine(echo))
    client = await gateway.client()
    client.send(post() + b"\x00garbage\r\n\r\n")
    assert (await client.answer()).status == 200
    assert await client.closed()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_request_to_close_gets_one_answer_and_the_end(open_stand: OpenStand, version: str) -> None:
    gateway = await open_stand()
    client = await gateway.client()
    client.send(get("/health", "connection: close\r\n", version=version) + get("/health"))
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert await client.closed()


async def test_an_http_1_0_client_reads_a_stream_to_the_end_of_the_connection(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await open_stand(await start_engine(stream(b"data: 1\n\n", b"data: 2\n\n")))
    client = await gateway.client()
    client.send(post(body=STREAMING, headers="connection: keep-alive\r\n").replace(b"HTTP/1.1", b"HTTP/1.0"))
    answer = await client.answer()
    assert "transfer-encoding" not in answer.headers
    assert answer.headers["connection"] == "close"
    assert answer.body == b"data: 1\n\ndata: 2\n\n"


async def test_a_client_that_asks_first_is_told_to_go_on(start_engine: StartEngine, open_stand: OpenStand) -> None:
    gateway = await open_stand(await start_engine(echo))
    client = await gateway.client()
    head, _, body = post(headers="expect: 100-continue\r\n").partition(b"\r\n\r\n")
    client.send(head + b"\r\n\r\n")
    assert (await client.head())[0] == 100
    client.send(body)
    assert (await client.answer()).status == 200


async def test_a_client_that_asks_first_is_refused_a_body_too_large(open_stand: OpenStand) -> None:
    gateway = await open_stand()
    client = await gateway.client()
    client.send(b"POST /v1/completions HTTP/1.1\r\nhost: g\r\nexpect: 100-continue\r\ncontent-length: 99999999\r\n\r\n")
    assert (await client.head())[0] == 413
