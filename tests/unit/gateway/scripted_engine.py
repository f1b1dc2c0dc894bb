"""A real HTTP server that answers as each test tells it to."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

EVENT_STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)
NO_SUCH_ROUTE = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"


@dataclass
class Exchange:
    """One request as the engine received it, and the wire to answer on."""

    head: bytes
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def chunk(self, data: bytes) -> None:
        self.writer.write(b"%x\r\n%b\r\n" % (len(data), data))

    async def wait_until_gone(self) -> None:
        try:
            await self.reader.read(1)
        finally:
            self.gone.set()


Script = Callable[[Exchange], Awaitable[None]]


class ScriptedEngine:
    """Keeps each connection open between requests until a script closes it."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.exchanges: list[Exchange] = []
        self.connections = 0
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET "):
                    writer.write(NO_SUCH_ROUTE)
                    continue
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                exchange = Exchange(head, await reader.readexactly(length), reader, writer)
                self.exchanges.append(exchange)
                await self.script(exchange)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def unary(body: bytes, status: bytes = b"200 OK", content_type: bytes = b"application/json") -> Script:
    async def script(exchange: Exchange) -> None:
        head = b"HTTP/1.1 %b\r\nserver: uvicorn\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n"
        exchange.writer.write(head % (status, content_type, len(body)) + body)

    return script


def stream(*chunks: bytes) -> Script:
    """All the chunks, one at a time, then the end."""

    async def script(exchange: Exchange) -> None:
        exchange.writer.write(EVENT_STREAM)
        for chunk in chunks:
            exchange.chunk(chunk)
            await exchange.writer.drain()
            await asyncio.sleep(0)
        exchange.writer.write(b"0\r\n\r\n")

    return script


def stream_then_stall(*chunks: bytes) -> Script:
    """The chunks, then nothing until the other side leaves."""

    async def script(exchange: Exchange) -> None:
        exchange.writer.write(EVENT_STREAM)
        for chunk in chunks:
            exchange.chunk(chunk)
        await exchange.wait_until_gone()

    return script


def stream_then_die(*chunks: bytes) -> Script:
    async def script(exchange: Exchange) -> None:
        exchange.writer.write(EVENT_STREAM)
        for chunk in chunks:
            exchange.chunk(chunk)
        await exchange.writer.drain()
        exchange.writer.close()

    return script


async def never_answer(exchange: Exchange) -> None:
    await exchange.wait_until_gone()


async def hang_up(exchange: Exchange) -> None:
    exchange.writer.transport.abort()
