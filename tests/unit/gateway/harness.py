"""A whole gateway on a real socket, and a client that sees every byte."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import orjson

from deployments.gateway.catalogue import Catalogue, ModelCard
from deployments.gateway.replica_table import ReplicaInfo, ReplicaTable
from deployments.gateway.server import Gateway
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.tenants.keyring import Keyring
from tests.unit.gateway.keys import no_keys
from tests.unit.gateway.scripted_engine import ScriptedEngine

MODEL = "llama-3-8b"
TOKEN = "internal-secret-token"
DEADLINE_S = 8.0


@dataclass
class Answer:
    """`whole` is false when the connection ended before the body did."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool = True

    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json()["error"]


class Client:
    """One raw connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, deadline_s: float = DEADLINE_S
    ) -> None:
        self.reader = reader
        self.writer = writer
        self._deadline_s = deadline_s

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def head(self) -> tuple[int, dict[str, str]]:
        async with asyncio.timeout(self._deadline_s):
            raw = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status_line, *lines = raw.rstrip().split("\r\n")
        return int(status_line.split()[1]), {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}

    async def chunk(self) -> bytes:
        async with asyncio.timeout(self._deadline_s):
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            return (await self.reader.readexactly(size + 2))[:-2]

    async def answer(self, *, has_body: bool = True) -> Answer:
        status, headers = await self.head()
        if not has_body:
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            try:
                while chunk := await self.chunk():
                    body += chunk
            except (asyncio.IncompleteReadError, ConnectionError):
                return Answer(status, headers, body, whole=False)
            return Answer(status, headers, body)
        async with asyncio.timeout(self._deadline_s):
            if "content-length" in headers:
                length = int(headers["content-length"])
                try:
                    return Answer(status, headers, await self.reader.readexactly(length))
                except asyncio.IncompleteReadError as error:
                    return Answer(status, headers, error.partial, whole=False)
            return Answer(status, headers, await self.reader.read())

    async def closed(self) -> bool:
        """Wait for the end; whether nothing more came before it."""
        async with asyncio.timeout(self._deadline_s):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True

    def leave(self) -> None:
        self.writer.transport.abort()


class Stand:
    """The gateway under test."""

    def __init__(self, gateway: Gateway, replicas: ReplicaTable, catalogue: Catalogue) -> None:
        self.gateway = gateway
        self.replicas = replicas
        self.catalogue = catalogue
        self.port = gateway.bound_port
        self._clients: list[Client] = []

    def know(self, **news: Any) -> None:
        """State tells something new of the model."""
        card = self.catalogue.get(MODEL)
        assert card is not None
        self.catalogue.replace({MODEL: replace(card, **news)})
        self.gateway.keep_models({MODEL})

    def have(self, *engines: ScriptedEngine, leaving: Collection[int] = (), max_in_flight: int = 8) -> None:
        """From now on the model has these replicas, r0, r1, ...; some of them on their way out."""
        replicas = [
            replica_info(f"r{index}", engine, max_in_flight, is_leaving=index in leaving)
            for index, engine in enumerate(engines)
        ]
        self.gateway.set_replicas(MODEL, replicas)

    def waiting(self) -> int:
        return self.gateway.app.room.waiting(MODEL)

    async def client(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self._clients.append(client)
        return client

    async def ask(self, raw: bytes, *, has_body: bool = True) -> Answer:
        """One request on a connection of its own."""
        client = await self.client()
        client.send(raw)
        answer = await client.answer(has_body=has_body)
        client.leave()
        return answer

    async def settled(self) -> None:
        """Wait until nothing is in flight, then check that the account of it is empty."""
        async with asyncio.timeout(DEADLINE_S):
            while self.gateway.app.in_flight():
                await asyncio.sleep(0.005)
        assert self.gateway.app.routers.total_requests() == 0

    def leave(self) -> None:
        for client in self._clients:
            client.leave()


def replica_info(name: str, engine: ScriptedEngine, max_in_flight: int = 8, *, is_leaving: bool = False) -> ReplicaInfo:
    url = f"http://127.0.0.1:{engine.port}"
    return ReplicaInfo(name, url, TOKEN, max_in_flight, max_model_len=4096, is_leaving=is_leaving)


OpenStand = Callable[..., Awaitable[Stand]]


@asynccontextmanager
async def stand(
    engines: Sequence[ScriptedEngine], max_in_flight: int, settings: GatewaySettings, keyring: Keyring | None = None
) -> AsyncIterator[Stand]:
    replicas, catalogue = ReplicaTable(), Catalogue()
    replicas.update(MODEL, [replica_info(f"r{index}", engine, max_in_flight) for index, engine in enumerate(engines)])
    catalogue.replace({MODEL: ModelCard(MODEL, "vllm", not_ready="replica 1 of 1: load, 40 s.")})
    gateway = Gateway(settings, replicas, catalogue, keyring or no_keys())
    await gateway.start("127.0.0.1", 0)
    opened = Stand(gateway, replicas, catalogue)
    try:
        yield opened
    finally:
        opened.leave()
        await gateway.close()


def post(path: str = "/v1/chat/completions", body: Any = None, headers: str = "") -> bytes:
    """`body` is sent as it is if it is bytes, and as JSON otherwise."""
    if body is None:
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return (
        f"POST {path} HTTP/1.1\r\nhost: gateway\r\n{headers}content-length: {len(content)}\r\n\r\n".encode() + content
    )


def get(path: str, headers: str = "", method: str = "GET", version: str = "1.1") -> bytes:
    return f"{method} {path} HTTP/{version}\r\nhost: gateway\r\n{headers}\r\n".encode("latin-1")


STREAMING = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)
