"""Step 5: relay bytes from an engine to a client, without a task switch per chunk."""

import asyncio
from typing import Literal

import orjson

from deployments.gateway.answer_tap import AnswerTap
from deployments.gateway.errors import (
    ANTHROPIC_ROUTE,
    GatewayError,
    engine_error,
    engine_unavailable,
    first_token_timeout,
    idle_stream,
)
from deployments.gateway.http_server import Headers, Response
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.upstream import EngineConnection
from engine.guard import LEAVING

Outcome = Literal["completed", "client_gone", "not_started", "broken", "timed_out"]
RELAYED_HEADERS = frozenset({b"content-type", b"retry-after"})
ENGINE_IS_FULL = 503


class Relay:
    """One answer on its way. `outcome` is awaited once; all else happens in callbacks.

    `not_started` means that no byte came back, or only that the replica leaves, so another one may be asked.
    """

    def __init__(
        self, response: Response, headers: Headers, path: bytes, settings: GatewaySettings, tap: AnswerTap
    ) -> None:
        self._response = response
        self._headers = headers
        self._path = path
        self._settings = settings
        self._tap = tap
        self._whole = b""
        self._loop = asyncio.get_running_loop()
        self._status = 0
        self._engines_headers: Headers = []
        self._error_body = b""
        self._is_event_stream = False
        self._last_byte_s = 0.0
        self.outcome: asyncio.Future[Outcome] = self._loop.create_future()

    def begin(self, connection: EngineConnection, request: bytes) -> None:
        self._connection = connection
        self._response.on_gone = self._client_gone
        self._response.on_stall = connection.pause
        self._response.on_resume = connection.resume
        self._last_byte_s = self._loop.time()
        self._look_again_in(self._settings.first_token_timeout_s)
        if self._response.client_is_gone:
            self._client_gone()
        else:
            connection.send(request, self)

    def on_head(self, status: int, headers: Headers) -> None:
        """Held back: an engine sends a stream's head long before its first token, and until then it may be replaced."""
        self._status, self._engines_headers = status, headers
        self._is_event_stream = any(n == b"content-type" and v.startswith(b"text/event-stream") for n, v in headers)

    def on_data(self, body: bytes) -> None:
        self._last_byte_s = self._loop.time()
        if self._status >= 400:
            self._error_body += body
            return
        if self._is_event_stream:
            body = self._tap.event_data(body)
        else:
            self._tap.whole_data(body)
            if self._tap.wants_whole:
                self._whole += body
                return
        if not self._response.started:
            self._start(self._headers)
        if body:
            self._response.write(body)

    def on_end(self) -> None:
        if self._status == LEAVING:
            self._settle("not_started")
            return
        if self._status >= 400:
            self._answer_with_engines_error()
        else:
            self._finish_answer()
        self._settle("completed")

    def _finish_answer(self) -> None:
        headers = self._headers
        if self._tap.wants_whole and not self._is_event_stream:
            headers = [*headers, (b"x-baryon-actual", self._tap.receipt() or b"")]
        if not self._response.started:
            self._start(headers)
        rest = self._tap.event_end() if self._is_event_stream else self._whole
        if rest:
            self._response.write(rest)
        self._response.finish()

    def _start(self, headers: Headers) -> None:
        relayed = [header for header in self._engines_headers if header[0] in RELAYED_HEADERS]
        length = next((int(value) for name, value in self._engines_headers if name == b"content-length"), None)
        self._response.start(self._status, relayed + headers, length)

    def on_broken(self) -> None:
        if not self._response.started:
            self._settle("not_started")
            return
        self._break_off(engine_unavailable())
        self._settle("broken")

    def _client_gone(self) -> None:
        self._connection.abort()
        self._settle("client_gone")

    def _look_again_in(self, left_s: float) -> None:
        """Never so late that a stream which starts and stalls meanwhile is noticed after its time."""
        self._timer = self._loop.call_later(min(left_s, self._settings.idle_stream_timeout_s), self._check_time)

    def _check_time(self) -> None:
        """One timer a request, moved when it fires: nothing is paid per chunk."""
        started = self._response.started
        limit_s = self._settings.idle_stream_timeout_s if started else self._settings.first_token_timeout_s
        left_s = self._last_byte_s + limit_s - self._loop.time()
        if left_s > 0:
            self._look_again_in(left_s)
            return
        self._connection.abort()
        if started:
            self._break_off(idle_stream(limit_s))
        else:
            self._response.send_error(first_token_timeout(limit_s), self._headers)
        self._settle("timed_out")

    def _answer_with_engines_error(self) -> None:
        """A 4xx is the client's affair and is passed on; what a 5xx says may name internals and is not."""
        if self._status < 500 and self._status != 404:
            if _is_json_object(self._error_body):
                headers = [(b"content-type", b"application/json"), *self._headers]
                self._response.send(self._status, headers, self._error_body)
            else:
                refused = GatewayError(self._status, "engine_refused", "The engine refused this request.")
                self._response.send_error(refused, self._headers)
        elif self._status == 404:
            message = "This model does not serve this route."
            self._response.send_error(GatewayError(404, "unsupported_route", message), self._headers)
        elif self._status == ENGINE_IS_FULL:
            message = "The replica's queue is full. Try again in 1 s."
            self._response.send_error(GatewayError(503, "at_capacity", message, retry_after_s=1), self._headers)
        else:
            self._response.send_error(engine_error(), self._headers)

    def _break_off(self, error: GatewayError) -> None:
        """Say why in an event, if it is a stream of them, then end without the terminator: the answer is not whole."""
        if self._is_event_stream:
            event = b"event: error\n" if self._path == ANTHROPIC_ROUTE else b""
            self._response.write(event + b"data: " + error.body(self._path) + b"\n\n")
        self._response.abort()

    def _settle(self, outcome: Outcome) -> None:
        self._timer.cancel()
        self._response.on_gone = self._response.on_stall = self._response.on_resume = None
        if not self.outcome.done():
            self.outcome.set_result(outcome)


def _is_json_object(body: bytes) -> bool:
    try:
        return isinstance(orjson.loads(body), dict)
    except orjson.JSONDecodeError:
        return False


def engine_request(path: bytes, body: bytes, host: str, token: str, request_id: bytes, dispatch: bytes) -> bytes:
    """The bytes sent to an engine. None of the client's own headers go along; `dispatch` is for other gateways."""
    return (
        b"POST %b HTTP/1.1\r\nhost: %b\r\ncontent-type: application/json\r\nx-baryon-internal-token: %b\r\n"
        b"x-request-id: %b\r\nx-baryon-dispatch: %b\r\ncontent-length: %d\r\n\r\n%b"
    ) % (path, host.encode(), token.encode(), request_id, dispatch, len(body), body)
