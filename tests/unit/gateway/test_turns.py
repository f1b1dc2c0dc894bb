"""Who may write when: answers in order, and nobody faster than its reader."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from deployments.gateway.client_connections import ClientConnections
from deployments.gateway.client_request import ClientRequest
from deployments.gateway.http_server import ClientConnection, Handler
from deployments.gateway.response import Response
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.upstream import EngineConnection, EnginePool
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import Client, get, post, until
from tests.unit.gateway.scripted_engine import unary

Serve = Callable[[Handler], Awaitable[tuple[Client, ClientConnections]]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """One client of a server that hands each request to the handler given."""
    servers: list[asyncio.Server] = []
    connections = ClientConnections()

    async def start(handler: Handler) -> tuple[Client, ClientConnections]:
        server = await asyncio.get_running_loop().create_server(
            lambda: ClientConnection(handler, GatewaySettings, connections, lambda _path, _headers: None),
            "127.0.0.1",
            0,
        )
        servers.append(server)
        return Client(*await asyncio.open_connection(*server.sockets[0].getsockname())), connections

    yield start
    for server in servers:
        server.close()
    for connection in list(connections):
        connection.drop()


async def test_a_request_read_in_the_moment_an_answer_ends_does_not_overtake_one_in_the_queue(serve: Serve) -> None:
    asked: list[tuple[ClientRequest, Response]] = []
    client, connections = await serve(lambda request, response: asked.append((request, response)))
    client.send(get("/a") + get("/b"))
    await until(lambda: len(asked) == 1)
    (connection,) = connections
    asked[0][1].send(200, [], b"a")
    connection.data_received(get("/c"))
    for turn in (1, 2):
        await until(lambda turn=turn: len(asked) == turn + 1)  # type: ignore[misc]
        asked[turn][1].send(200, [], b"")
    assert [request.path for request, _ in asked] == [b"/a", b"/b", b"/c"]


async def test_a_handler_that_fails_is_a_500_and_a_line_in_the_log(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(request: ClientRequest, response: Response) -> None:
        raise RuntimeError("a bug of ours")

    client, _ = await serve(handler)
    client.send(get("/"))
    answer = await client.answer()
    assert answer.status == 500
    assert "a bug of ours" not in answer.body.decode()
    assert "a bug of ours" in caplog.text


async def test_large_requests_are_not_read_ahead_of_their_turn(serve: Serve) -> None:
    asked: list[tuple[ClientRequest, Response]] = []
    client, connections = await serve(lambda request, response: asked.append((request, response)))
    client.send(post("/first", b"{}") + post("/x", b"x" * 1_000_000) * 6)
    await until(lambda: len(asked) == 1)
    (connection,) = connections
    await asyncio.sleep(0.2)
    assert len(connection._queue) <= 1
    for turn in range(7):
        await until(lambda turn=turn: len(asked) == turn + 1)  # type: ignore[misc]
        asked[turn][1].send(200, [], b"")
        assert (await client.answer()).status == 200


async def test_answers_do_not_pile_up_for_a_client_that_does_not_read(serve: Serve) -> None:
    answered = 0

    def handler(request: ClientRequest, response: Response) -> None:
        nonlocal answered
        answered += 1
        response.send(200, [], b"x" * 1_000_000)

    client, _ = await serve(handler)
    client.send(get("/") * 60)
    before = -1
    while answered != before:
        before = answered
        await asyncio.sleep(0.1)
    assert answered < 60
    for _ in range(60):
        assert len((await client.answer()).body) == 1_000_000


class PausingSink:
    """Pauses its connection with the read that ends the answer."""

    def __init__(self, connection: EngineConnection) -> None:
        self.connection = connection
        self.ended = asyncio.Event()

    def on_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None: ...

    def on_data(self, body: bytes) -> None:
        self.connection.pause()

    def on_end(self) -> None:
        self.ended.set()

    def on_broken(self) -> None: ...


async def test_a_connection_paused_as_its_answer_ends_reads_the_next_one(start_engine: StartEngine) -> None:
    engine = await start_engine(unary(b"{}"))
    url = f"http://127.0.0.1:{engine.port}"
    pool = EnginePool()
    connection: EngineConnection | None = await pool.connect(url, 2)
    for _ in range(2):
        assert connection is not None
        sink = PausingSink(connection)
        connection.send(b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n", sink)
        await asyncio.wait_for(sink.ended.wait(), 5)
        connection = pool.take(url)
    pool.close()
    assert engine.connections == 1
