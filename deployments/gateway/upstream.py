"""The engine's side of the wire: keep-alive HTTP/1.1 connections to replicas."""

import asyncio
from collections import defaultdict
from functools import cache
from typing import Protocol, cast
from urllib.parse import urlsplit

import httptools

IDLE_CONNECTIONS_PER_REPLICA = 256
IDLE_S = 4.0


class Sink(Protocol):
    """Receives an answer as it comes, on the event loop."""

    def on_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None: ...

    def on_data(self, body: bytes) -> None:
        """Everything that one read brought."""

    def on_end(self) -> None: ...

    def on_broken(self) -> None:
        """The connection ended before the answer did."""


class EngineConnection(asyncio.Protocol):
    """One connection to an engine; one request at a time."""

    def __init__(self, pool: "EnginePool", address: tuple[str, int]) -> None:
        self._pool = pool
        self.address = address
        self._sink: Sink | None = None
        self._used = False
        self._paused = False
        self._parser = httptools.HttpResponseParser(self)
        self.closed = False
        self.idle_since_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    @property
    def was_used(self) -> bool:
        """Whether it carried a request before: only such a one can have been closed by a keep-alive timeout."""
        return self._used

    def send(self, request: bytes, sink: Sink) -> None:
        self._sink = sink
        if self.closed:
            self._break()
            return
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._complete = self._keep_alive = False
        self._transport.write(request)

    def pause(self) -> None:
        if not self.closed:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if not self.closed:
            self._paused = False
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once: an engine that loses its client stops generating for it."""
        self._sink = None
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._sink is None:
            self._transport.abort()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._break()
            return
        sink = self._sink
        if self._body and sink is not None:
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._body.clear()
            sink.on_data(body)
        if self._complete and self._sink is not None:
            self._finish()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._sink is not None:
            self._sink.on_head(self._parser.get_status_code(), self._headers)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._complete = True
        self._keep_alive = self._parser.should_keep_alive()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The parser knows it, as it knows the parser: neither shall wait for the garbage collector."""
        self.closed = True
        self._pool.forget(self)
        if self._sink is not None:
            self._break()
        del self._parser

    def _finish(self) -> None:
        sink, self._sink = self._sink, None
        self._used = True
        if self._paused:
            self.resume()
        if self._keep_alive and not self.closed:
            self._pool.give_back(self)
        else:
            self._transport.close()
        assert sink is not None
        sink.on_end()

    def _break(self) -> None:
        sink, self._sink = self._sink, None
        if not self.closed:
            self._transport.abort()
        if sink is not None:
            sink.on_broken()


class EnginePool:
    """Idle connections by address, newest first, none older than the engine's own keep-alive of 5 s."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._idle: defaultdict[tuple[str, int], list[EngineConnection]] = defaultdict(list)

    def take(self, url: str) -> EngineConnection | None:
        """An idle connection, if there is one."""
        idle = self._idle[engine_address(url)]
        oldest_s = self._loop.time() - IDLE_S
        while idle:
            connection = idle.pop()
            if connection.idle_since_s >= oldest_s and not connection.closed:
                return connection
            connection.abort()
        return None

    async def connect(self, url: str, timeout_s: float) -> EngineConnection:
        """Raises:
        OSError: refused, unreachable, or not accepted within `timeout_s`.
        """
        host, port = address = engine_address(url)
        async with asyncio.timeout(timeout_s):
            _, connection = await self._loop.create_connection(lambda: EngineConnection(self, address), host, port)
        return connection

    def give_back(self, connection: EngineConnection) -> None:
        idle = self._idle[connection.address]
        connection.idle_since_s = self._loop.time()
        idle.append(connection)
        if len(idle) > IDLE_CONNECTIONS_PER_REPLICA:
            idle.pop(0).abort()

    def forget(self, connection: EngineConnection) -> None:
        idle = self._idle.get(connection.address)
        if idle and connection in idle:
            idle.remove(connection)
        if idle is not None and not idle:
            del self._idle[connection.address]

    def close(self) -> None:
        for idle in list(self._idle.values()):
            for connection in list(idle):
                connection.abort()


@cache
def engine_address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 80
