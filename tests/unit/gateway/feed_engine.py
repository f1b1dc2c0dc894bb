"""An engine's server that speaks only `/-/feed`, as each test tells it to, and a gateway that notes what it hears."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from deployments.gateway.replica_table import ReplicaInfo
from engine.computed import Computed
from tests.unit.gateway.harness import DEADLINE_S

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"
RESET = {"e": "reset"}
ALIVE = {"e": "alive"}


def began(key: str, **more: Any) -> dict[str, Any]:
    return {"e": "began", "k": key, "p": 100, "h": 40, "b": "-", **more}


def first(key: str) -> dict[str, str]:
    return {"e": "first", "k": key}


def ended(key: str) -> dict[str, str]:
    return {"e": "ended", "k": key}


@dataclass
class Connection:
    """A gateway that follows the feed, as the engine sees it."""

    request: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def tell(self, *events: dict[str, Any]) -> None:
        """All in one chunk."""
        lines = b"".join(orjson.dumps(event) + b"\n" for event in events)
        self.write(b"%x\r\n%b\r\n" % (len(lines), lines))

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def left(self) -> None:
        """Wait until the gateway has closed it."""
        async with asyncio.timeout(DEADLINE_S):
            try:
                await self.reader.read()
            except ConnectionError:
                return


class FeedEngine:
    """Can be killed, and started again on its port."""

    def __init__(self) -> None:
        self._accepted: asyncio.Queue[Connection] = asyncio.Queue()
        self._writers: list[asyncio.StreamWriter] = []
        self.connections = 0
        self.port = 0

    def replica(self, replica_id: str = "r0", token: str = "secret", *, is_leaving: bool = False) -> ReplicaInfo:
        url = f"http://127.0.0.1:{self.port}"
        return ReplicaInfo(replica_id, url, token, max_in_flight=8, max_model_len=4096, is_leaving=is_leaving)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def kill(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def accepted(self) -> Connection:
        """The next connection, its request read and nothing answered."""
        async with asyncio.timeout(DEADLINE_S):
            return await self._accepted.get()

    async def follower(self) -> Connection:
        """The next connection, told that the feed begins."""
        connection = await self.accepted()
        connection.write(HEAD)
        connection.tell(RESET)
        return connection

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self.connections += 1
        request = await reader.readuntil(b"\r\n\r\n")
        self._accepted.put_nowait(Connection(request, reader, writer))


@asynccontextmanager
async def feed_engine() -> AsyncIterator[FeedEngine]:
    engine = FeedEngine()
    await engine.start()
    try:
        yield engine
    finally:
        engine.kill()


class Notes:
    """What a gateway was told, in order; `heard` apart from it."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.heard_of: list[str] = []

    def other_reset(self, model: str, replica_id: str) -> None:
        self.told.append(("reset", replica_id))

    def other_began(
        self, model: str, replica_id: str, key: str, prompt_tokens: int, hit_tokens: int, blocks: tuple[int, ...]
    ) -> None:
        self.told.append(("began", replica_id, key, prompt_tokens, hit_tokens, blocks))

    def other_got_first_token(self, model: str, replica_id: str, key: str) -> None:
        self.told.append(("first", replica_id, key))

    def other_ended(self, model: str, replica_id: str, key: str) -> None:
        self.told.append(("ended", replica_id, key))

    def spent(self, replica_id: str, key: str, computed: Computed) -> None:
        self.told.append(("spent", replica_id, key, computed))

    def orphaned(self, tenant: str, model: str, computed: Computed) -> None:
        self.told.append(("orphan", model, tenant, computed))

    def heard(self, model: str, replica_id: str) -> None:
        self.heard_of.append(replica_id)
