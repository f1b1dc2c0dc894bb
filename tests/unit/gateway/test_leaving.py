"""A gateway that leaves while others share its port: no client meets a closed door."""

import asyncio
import socket
from collections import Counter

import httpx
import pytest

from deployments.gateway.catalogue import Catalogue, ModelCard
from deployments.gateway.replica_table import ReplicaInfo, ReplicaTable
from deployments.gateway.server import Gateway
from deployments.gateway.settings import GatewaySettings
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import MODEL, STREAMING, TOKEN, OpenStand, get, post, until
from tests.unit.gateway.keys import no_keys
from tests.unit.gateway.scripted_engine import (
    EVENT_STREAM,
    Exchange,
    Script,
    ScriptedEngine,
    never_answer,
    stream,
    unary,
)

QUICK = GatewaySettings(last_keep_alive_s=0.3)
REPLACEMENTS = 8


def stream_in_two_parts(go_on: asyncio.Event) -> Script:
    async def script(exchange: Exchange) -> None:
        exchange.writer.write(EVENT_STREAM)
        exchange.chunk(b"data: 1\n\n")
        await go_on.wait()
        exchange.chunk(b"data: 2\n\n")
        exchange.writer.write(b"0\r\n\r\n")

    return script


async def test_it_finishes_a_stream_and_takes_no_new_connection(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    go_on = asyncio.Event()
    gateway = await open_stand(await start_engine(stream_in_two_parts(go_on)), settings=QUICK)
    idle, busy = await gateway.client(), await gateway.client()
    busy.send(post(body=STREAMING))
    await busy.head()
    assert await busy.chunk() == b"data: 1\n\n"
    draining = asyncio.create_task(gateway.gateway.drain(5))
    assert await idle.closed()
    with pytest.raises(ConnectionRefusedError):
        await gateway.client()
    go_on.set()
    assert await busy.chunk() == b"data: 2\n\n"
    assert await busy.chunk() == b""
    assert await busy.closed()
    await draining
    await gateway.settled()


async def test_a_kept_connection_gets_its_next_answer_with_the_word_that_it_ends(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await open_stand(await start_engine(unary(b"{}")), settings=GatewaySettings(last_keep_alive_s=5))
    client = await gateway.client()
    client.send(post())
    assert "connection" not in (await client.answer()).headers
    draining = asyncio.create_task(gateway.gateway.drain(5))
    await asyncio.sleep(0.4)
    client.send(post())
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert await client.closed()
    await draining


async def test_a_stream_that_could_not_say_so_leaves_its_connection_open_for_one_request_more(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    go_on = asyncio.Event()
    engine = await start_engine(stream_in_two_parts(go_on))
    gateway = await open_stand(engine, settings=GatewaySettings(last_keep_alive_s=5))
    client = await gateway.client()
    client.send(post(body=STREAMING))
    await client.head()
    draining = asyncio.create_task(gateway.gateway.drain(5))
    await asyncio.sleep(0)
    go_on.set()
    while await client.chunk():
        continue
    client.send(post(body=STREAMING))
    answer = await client.answer()
    assert (answer.body, answer.headers["connection"]) == (b"data: 1\n\ndata: 2\n\n", "close")
    await draining


async def test_an_answer_that_starts_late_says_that_the_connection_ends(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    go_on = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await go_on.wait()
        await unary(b"{}")(exchange)

    engine = await start_engine(script)
    gateway = await open_stand(engine)
    client = await gateway.client()
    client.send(post())
    await until(lambda: bool(engine.exchanges))
    draining = asyncio.create_task(gateway.gateway.drain(5))
    await asyncio.sleep(0)
    go_on.set()
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    await draining


async def test_its_health_says_that_it_leaves(open_stand: OpenStand) -> None:
    gateway = await open_stand(settings=GatewaySettings(last_keep_alive_s=5))
    client = await gateway.client()
    await asyncio.sleep(0.05)
    draining = asyncio.create_task(gateway.gateway.drain(5))
    await asyncio.sleep(0)
    client.send(get("/health"))
    answer = await client.answer()
    assert (answer.status, answer.error["code"]) == (503, "shutting_down")
    await draining


async def test_what_is_left_at_the_deadline_is_dropped(start_engine: StartEngine, open_stand: OpenStand) -> None:
    engine = await start_engine(never_answer)
    gateway = await open_stand(engine)
    client = await gateway.client()
    client.send(post())
    await until(lambda: bool(engine.exchanges))
    await gateway.gateway.drain(0.1)
    assert await client.closed()
    await asyncio.wait_for(engine.exchanges[0].gone.wait(), 5)
    await gateway.settled()


async def test_connections_that_wait_to_be_accepted_are_answered_all_the_same(open_stand: OpenStand) -> None:
    """Both listen on one port; the kernel has given each of them about half of these."""
    staying = await open_stand(settings=QUICK)
    leaving = Gateway(QUICK, ReplicaTable(), Catalogue(), no_keys())
    await leaving.start("127.0.0.1", staying.port)
    connected = [socket.create_connection(("127.0.0.1", staying.port)) for _ in range(64)]
    draining = asyncio.create_task(leaving.drain(5))
    streams = [await asyncio.open_connection(sock=connection) for connection in connected]
    for _, writer in streams:
        writer.write(get("/v1/models"))
    heads = [await reader.readuntil(b"\r\n") for reader, _ in streams]
    assert heads == [b"HTTP/1.1 200 OK\r\n"] * 64
    for _, writer in streams:
        writer.transport.abort()
    await draining


async def test_who_connects_while_one_stops_listening_gets_another(open_stand: OpenStand) -> None:
    staying = await open_stand(settings=QUICK)
    leaving = Gateway(QUICK, ReplicaTable(), Catalogue(), no_keys())
    await leaving.start("127.0.0.1", staying.port)
    draining = asyncio.create_task(leaving.drain(5))
    answers = await asyncio.gather(*(staying.ask(get("/v1/models")) for _ in range(32)))
    assert {answer.status for answer in answers} == {200}
    await draining


@pytest.mark.slow
async def test_clients_notice_nothing_while_gateways_are_replaced(start_engine: StartEngine) -> None:
    """Kept and new connections, streams and short answers; two gateways share the port at any time."""
    engine = await start_engine(stream(b"data: 1\n\n", b"data: 2\n\n"))
    gateways = [await gateway_for(engine, 0)]
    port = gateways[0].bound_port
    gateways.append(await gateway_for(engine, port))
    outcomes, has_ended = Counter[str](), asyncio.Event()

    async def ask_until_ended(kept: bool) -> None:
        client = new_client(port)
        while not has_ended.is_set():
            outcomes[(await client.post("/v1/chat/completions", json=STREAMING)).text] += 1
            if not kept:
                await client.aclose()
                client = new_client(port)
            await asyncio.sleep(0.01)
        await client.aclose()

    asking = [asyncio.create_task(ask_until_ended(kept)) for kept in (True, True, False, False)]
    leaving = []
    for _ in range(REPLACEMENTS):
        gateways.append(await gateway_for(engine, port))
        leaving.append(asyncio.create_task(gateways.pop(0).drain(10)))
        await asyncio.sleep(0.3)
    assert await asyncio.gather(*leaving) == [0] * REPLACEMENTS
    has_ended.set()
    await asyncio.gather(*asking)
    assert outcomes.keys() == {"data: 1\n\ndata: 2\n\n"}
    for gateway in gateways:
        await gateway.close()


async def gateway_for(engine: ScriptedEngine, port: int) -> Gateway:
    replicas, catalogue = ReplicaTable(), Catalogue()
    replicas.update(MODEL, [ReplicaInfo("r0", f"http://127.0.0.1:{engine.port}", TOKEN, 64, max_model_len=4096)])
    catalogue.replace({MODEL: ModelCard(MODEL, "vllm")})
    gateway = Gateway(QUICK, replicas, catalogue, no_keys())
    await gateway.start("127.0.0.1", port)
    return gateway


def new_client(port: int) -> httpx.AsyncClient:
    limits = httpx.Limits(keepalive_expiry=QUICK.last_keep_alive_s - 0.1)
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, limits=limits, verify=False)
