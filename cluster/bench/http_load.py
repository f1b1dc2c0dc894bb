"""A load generator that costs little: raw asyncio protocols, one per stream, no parsing of what it receives.

On a small machine the client shares the cores with what it measures, so a heavy client would measure itself.
"""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import httptools
import orjson

_COMPLETION_TOKENS = re.compile(rb'"completion_tokens":\s*(\d+)')
_TAIL_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send requests: `headers` are added to each (an internal token, an API key)."""

    name: str
    host: str
    port: int
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. Times are seconds from the moment the request was written."""

    status: int
    first_byte_s: float
    end_s: float
    body_bytes: int
    output_tokens: int


class LoadError(Exception):
    """The server closed the connection before the answer was whole."""


class HttpStream(asyncio.Protocol):
    """One keep-alive HTTP/1.1 connection that sends a request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._reply: asyncio.Future[Reply] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes) -> "asyncio.Future[Reply]":
        """Write `request`; the future ends with the answer, or `LoadError`."""
        assert self._transport is not None
        self._parser = httptools.HttpResponseParser(self)
        self._tail = b""
        self._body_bytes = 0
        self._first_byte_s = 0.0
        self._reply = asyncio.get_running_loop().create_future()
        self._began_s = time.perf_counter()
        self._transport.write(request)
        return self._reply

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        if not self._first_byte_s:
            self._first_byte_s = time.perf_counter() - self._began_s
        self._body_bytes += len(body)
        self._tail = (self._tail + body)[-_TAIL_BYTES:]

    def on_message_complete(self) -> None:
        assert self._reply is not None
        tokens = _COMPLETION_TOKENS.findall(self._tail)
        self._reply.set_result(
            Reply(
                status=self._parser.get_status_code(),
                first_byte_s=self._first_byte_s,
                end_s=time.perf_counter() - self._began_s,
                body_bytes=self._body_bytes,
                output_tokens=int(tokens[-1]) if tokens else 0,
            )
        )

    def connection_lost(self, error: Exception | None) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(
                LoadError(f"the connection closed before the answer was whole, after {self._body_bytes} bytes: {error}")
            )

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def post(target: Target, path: str, body: object) -> bytes:
    """The bytes of a keep-alive POST with a JSON body."""
    payload = orjson.dumps(body)
    extra = "".join(f"{name}: {value}\r\n" for name, value in target.headers)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {target.host}:{target.port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(payload)}\r\n{extra}\r\n"
    )
    return head.encode() + payload


async def run_streams(
    target: Target, streams: int, requests_per_stream: int, request: Callable[[int], bytes]
) -> tuple[float, list[Reply]]:
    """Keep `streams` connections busy until each has had its requests; wall seconds and every reply.

    Args:
        request: bytes of the request with this index (0 ≤ index < streams × requests_per_stream).

    Raises:
        LoadError: a connection broke.
        OSError: the target refused a connection.
    """
    loop = asyncio.get_running_loop()
    connections = [(await loop.create_connection(HttpStream, target.host, target.port))[1] for _ in range(streams)]

    async def one_stream(number: int) -> list[Reply]:
        first = number * requests_per_stream
        return [await connections[number].send(request(first + turn)) for turn in range(requests_per_stream)]

    try:
        began_s = time.perf_counter()
        replies = await asyncio.gather(*(one_stream(number) for number in range(streams)))
        return time.perf_counter() - began_s, [reply for batch in replies for reply in batch]
    finally:
        for connection in connections:
            connection.close()
