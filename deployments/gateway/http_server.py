"""The client's side of the wire: HTTP/1.1 on httptools, with every limit in one place.

A server of our own because a gateway's work is bytes: an ASGI server costs a task switch and a re-framing per streamed
chunk, which docs/design.md measures. Decisions are made on the raw request target; nothing is normalised.
"""

import asyncio
import contextlib
import logging
import re
from collections import deque
from collections.abc import Callable
from typing import cast

import httptools

from deployments.gateway.client_connections import ClientConnections
from deployments.gateway.client_request import ClientRequest
from deployments.gateway.errors import (
    GatewayError,
    body_too_large,
    headers_too_large,
    internal_error,
    malformed_http,
    request_timeout,
)
from deployments.gateway.response import Response
from deployments.gateway.settings import GatewaySettings

logger = logging.getLogger(__name__)

MAX_PIPELINED = 8
MAX_HEADERS = 100
UNIQUE_HEADERS = frozenset({b"host", b"content-length", b"transfer-encoding", b"authorization", b"x-api-key"})
HOST = re.compile(rb"[\w.:\[\]-]{1,255}", re.ASCII)
HTTP_VERSIONS = frozenset({"1.0", "1.1"})
LINGER_S = 5.0


Handler = Callable[[ClientRequest, Response], None]
CheckHead = Callable[[bytes, dict[bytes, bytes]], GatewayError | None]


class ClientConnection(asyncio.Protocol):
    """Parses requests, bounds them in size, number and time, and hands them on one after another."""

    def __init__(
        self,
        handler: Handler,
        settings: Callable[[], GatewaySettings],
        connections: ClientConnections,
        check_head: CheckHead,
    ) -> None:
        self._handler, self._check_head_of = handler, check_head
        self._settings = settings()
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[ClientRequest] = deque()
        self._is_stalled = False
        self._current: Response | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self.closed = False
        self._expect_message()

    def _expect_message(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._header_count = 0
        self._head_bytes = 0
        self._bodiless_bytes = 0
        self._body: bytes | bytearray = b""
        self._body_bytes = 0
        self._refusal: GatewayError | None = None
        self._head_is_complete = False
        self._in_message = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)
        self._arm(self._settings.request_timeout_s)

    def connection_lost(self, error: Exception | None) -> None:
        """What it holds of its client goes at once, not when the garbage collector comes: the parser knows it, too."""
        self.closed = True
        self._connections.remove_closed(self)
        self._disarm()
        current, self._current = self._current, None
        if current is not None:
            current.gone()
        self._queue.clear()
        self._expect_message()
        del self._parser

    def eof_received(self) -> bool:
        return False

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        try:
            headers, body_bytes = self._headers, self._body_bytes
            self._parser.feed_data(data)
            if self._in_message and headers is self._headers and body_bytes == self._body_bytes:
                self._check_bodiless(len(data))
        except GatewayError as error:
            self._refuse(error)
        except httptools.HttpParserCallbackError as error:
            self._refuse(_raised_within(error))
        except httptools.HttpParserError:
            self._refuse(malformed_http())

    def on_message_begin(self) -> None:
        self._in_message = True
        if self._current is None and not self._closing:
            self._arm(self._settings.request_timeout_s)

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._check_head(len(url), 0)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._check_head(len(name) + len(value), 1)
        if self._head_is_complete:
            return
        name = name.lower()
        if name in self._headers and name in UNIQUE_HEADERS:
            raise GatewayError(400, "duplicate_header", "A header that must be unique came twice.")
        self._headers[name] = value

    def _check_head(self, added_bytes: int, added_headers: int) -> None:
        self._head_bytes += added_bytes
        self._header_count += added_headers
        if self._head_bytes > self._settings.max_head_bytes or self._header_count > MAX_HEADERS:
            raise headers_too_large()

    def _check_bodiless(self, received_bytes: int) -> None:
        """Bound what the parser holds back: an unfinished header or trailer, endless chunk extensions."""
        self._bodiless_bytes += received_bytes
        if self._bodiless_bytes > self._settings.max_head_bytes:
            raise headers_too_large()

    def on_headers_complete(self) -> None:
        """What comes as a header from here on is a trailer, which nobody needs."""
        self._head_is_complete = True
        version = self._parser.get_http_version()
        if version not in HTTP_VERSIONS:
            raise malformed_http()
        is_http_1_1 = version == "1.1"
        host = self._headers.get(b"host")
        if host is None and is_http_1_1:
            raise GatewayError(400, "missing_host", "An HTTP/1.1 request needs a Host header.")
        if host and not HOST.fullmatch(host):
            raise GatewayError(400, "malformed_host", "The Host header is not a host.")
        coding = self._headers.get(b"transfer-encoding")
        if coding is not None and not (is_http_1_1 and coding.lower() == b"chunked"):
            raise malformed_http()
        if self._parser.should_upgrade():
            raise GatewayError(400, "upgrade_refused", "Protocol upgrades are not supported.")
        length = self._headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._settings.max_body_bytes:
            raise body_too_large(self._settings.max_body_bytes)
        self._refusal = self._check_head_of(self._url.partition(b"?")[0], self._headers)
        if self._headers.get(b"expect", b"").lower() == b"100-continue" and self._current is None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > self._settings.max_body_bytes:
            raise body_too_large(self._settings.max_body_bytes)
        if self._refusal is not None:
            return
        if not self._body:
            self._body = body
        elif isinstance(self._body, bytearray):
            self._body += body
        else:
            self._body = bytearray(self._body + body)

    def on_message_complete(self) -> None:
        if self._closing:
            return
        is_http_1_1 = self._parser.get_http_version() == "1.1"
        path, _, query = self._url.partition(b"?")
        request = ClientRequest(
            method=self._parser.get_method(),
            path=path,
            headers=self._headers,
            body=bytes(self._body),
            keep_alive=is_http_1_1 and self._parser.should_keep_alive(),
            is_http_1_1=is_http_1_1,
            refusal=self._refusal,
            query=query,
        )
        self._expect_message()
        if self._current is None and not self._queue and not self._is_stalled:
            self._answer(request)
            return
        self._queue.append(request)
        waiting_bytes = sum(len(waiting.body) for waiting in self._queue)
        if len(self._queue) >= MAX_PIPELINED or waiting_bytes > self._settings.max_head_bytes:
            self._transport.pause_reading()

    def _answer(self, request: ClientRequest) -> None:
        self._disarm()
        if self._connections.are_leaving:
            request.keep_alive = False
        self._current = response = Response(self, request)
        try:
            self._handler(request, response)
        except Exception:
            logger.exception("a request could not be handled")
            response.is_last()
            if response.started:
                response.abort()
            else:
                response.send_error(internal_error(), [])

    def answered(self, keep_alive: bool) -> None:
        """The current answer is finished: take the next request, wait for one, or close."""
        self._current = None
        if not keep_alive or self._closing:
            self._close()
        elif self._queue:
            self._arm(self._settings.keep_alive_s)
            self._loop.call_soon(self._answer_next)
        else:
            self._arm(self._settings.request_timeout_s if self._in_message else self._idle_limit_s)

    def _answer_next(self) -> None:
        """In order, and none before the client has read most of the last answer."""
        if self._queue and self._current is None and not self._is_stalled and not self._closing and not self.closed:
            self._answer(self._queue.popleft())
            if not self._queue and not self._transport.is_reading():
                self._transport.resume_reading()

    def write(self, data: bytes) -> None:
        if not self.closed:
            self._transport.write(data)

    def pause_writing(self) -> None:
        self._is_stalled = True
        if self._current is not None and self._current.on_stall is not None:
            self._current.on_stall()

    def resume_writing(self) -> None:
        self._is_stalled = False
        if self._current is None:
            self._answer_next()
        elif self._current.on_resume is not None:
            self._current.on_resume()

    @property
    def is_answering(self) -> bool:
        return self._current is not None or bool(self._queue)

    @property
    def _idle_limit_s(self) -> float:
        return self._settings.last_keep_alive_s if self._connections.are_leaving else self._settings.keep_alive_s

    def leave(self) -> None:
        """The current answer is the last if its head can still say so, otherwise the next one."""
        if self._current is not None:
            if not self._current.started:
                self._current.is_last()
        elif not self._in_message and not self._queue and not self._closing:
            self._arm(self._idle_limit_s)

    def drop(self) -> None:
        self._transport.abort()

    def _refuse(self, error: GatewayError) -> None:
        if self._closing:
            return
        self._closing = True
        if self._current is None:
            method, headers = (self._parser.get_method(), self._headers) if self._head_is_complete else (b"", {})
            path = self._url.partition(b"?")[0]
            self._answer(ClientRequest(method, path, headers, b"", keep_alive=False, is_http_1_1=True, refusal=error))
        else:
            self._queue.clear()

    def _close(self) -> None:
        """Close, but not in the face of a client still sending (its kernel would discard our answer), nor ever later
        than `LINGER_S` for one that does not read. TLS has no half-close; there the head has said how much comes.
        """
        self._disarm()
        if self.closed:
            return
        self._closing = True
        if self._in_message:
            if self._transport.can_write_eof():
                with contextlib.suppress(OSError):
                    self._transport.write_eof()
        else:
            self._transport.close()
        self._timer = self._loop.call_later(LINGER_S, self._transport.abort)

    def _arm(self, timeout_s: float) -> None:
        self._disarm()
        self._timer = self._loop.call_later(timeout_s, self._timed_out)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _timed_out(self) -> None:
        if self._in_message:
            self._refuse(request_timeout("request"))
        else:
            self._close()


def _raised_within(error: httptools.HttpParserCallbackError) -> GatewayError:
    """No variable where it is caught: that would know it, as its traceback knows the variable."""
    return error.__context__ if isinstance(error.__context__, GatewayError) else malformed_http()
