"""Step 5: relay bytes from an engine to a client, without a task switch per chunk."""

import asyncio
from time import monotonic
from typing import Literal
from urllib.parse import quote

import orjson

from deployments.gateway.answer import Answer
from deployments.gateway.answer_tap import DONE, AnswerTap
from deployments.gateway.errors import (
    GatewayError,
    at_replicas_capacity,
    engine_error,
    engine_refused,
    engine_unavailable,
    first_token_timeout,
    idle_stream,
    unsupported_route,
)
from deployments.gateway.recipient import Headers
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.upstream import EngineConnection
from engine.guard import LEAVING
from engine.internal_token import token_now

Outcome = Literal["completed", "refused", "failed", "client_gone", "not_started", "broken", "timed_out"]
UNSETTLED: frozenset[Outcome] = frozenset({"not_started", "failed"})
RELAYED_HEADERS = frozenset({b"content-type", b"retry-after"})
ENGINE_IS_FULL = 503
ENGINE_FAILED = 500


class Relay:
    """One answer on its way. `outcome` is awaited once; all else happens in callbacks.

    `not_started` means that no byte came back, or only that the replica leaves, so another one may be asked; `failed`,
    that the engine had nothing but an error of its own to say: `failure`, which the client has not been told.

    An answer that is no stream is held until it is whole, if it is not very large: its head says how long it took.
    """

    def __init__(self, answer: Answer, named: Headers, settings: GatewaySettings, tap: AnswerTap) -> None:
        self._answer = answer
        self._response = answer.response
        self._named = named
        self._settings = settings
        self._tap = tap
        self._record = answer.record
        self._note_gap_ms = answer.record.gaps_ms.append
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._loop = asyncio.get_running_loop()
        self._status = 0
        self._engines_headers: Headers = []
        self._error_body = b""
        self._last_events = b""
        self._is_event_stream = False
        self._last_byte_s = 0.0
        self.outcome: asyncio.Future[Outcome] = self._loop.create_future()

    def begin(self, connection: EngineConnection, request: bytes) -> None:
        self._connection = connection
        self._response.on_gone = self._client_gone
        self._response.on_stall = connection.pause
        self._response.on_resume = connection.resume
        self._last_byte_s = monotonic()
        self._look_again_in(self._settings.first_token_timeout_s)
        if self._response.client_is_gone:
            self._client_gone()
        else:
            connection.send(request, self)

    def on_head(self, status: int, headers: Headers) -> None:
        """Held back: an engine sends a stream's head long before its first token, and until then it may be replaced."""
        self._status, self._engines_headers = status, headers
        self._is_event_stream = any(n == b"content-type" and v.startswith(b"text/event-stream") for n, v in headers)
        if self._answer.has_to_stream and not self._is_event_stream and status < 400:
            self._status = ENGINE_FAILED

    def on_data(self, body: bytes) -> None:
        before_s, now_s = self._last_byte_s, monotonic()
        self._last_byte_s = now_s
        if self._status >= 400:
            self._error_body += body
            return
        if self._is_event_stream:
            body = self._tap.event_data(body)
            if body:
                self._last_events = body
                self._note_gap_ms((now_s - before_s) * 1000)
        else:
            self._tap.whole_data(body)
            if not self._answer.has_begun:
                self._held.append(body)
                self._held_bytes += len(body)
                if self._held_bytes <= self._tap.largest_held_bytes:
                    return
                body = self._take_held()
        if not self._answer.has_begun:
            self._start(self._named)
        if body:
            self._response.write(body)

    def on_end(self) -> None:
        if self._status == LEAVING:
            self._settle("not_started")
        elif self._status < 400:
            self._finish_answer()
            self._settle("completed")
        elif self._status < 500:
            self._refuse()
            self._settle("refused")
        else:
            self._settle("failed")

    @property
    def failure(self) -> GatewayError:
        """What an engine says with its 5xx may name internals and is not passed on."""
        return at_replicas_capacity() if self._status == ENGINE_IS_FULL else engine_error()

    def _finish_answer(self) -> None:
        if self._is_event_stream:
            if not self._answer.has_begun:
                self._start(self._named)
            rest = self._tap.event_end()
        else:
            rest = self._take_held()
            if not self._answer.has_begun:
                rest = self._tap.whole(rest)
                self._start([*self._named, *self._tap.last_headers()], len(rest))
        if rest:
            self._response.write(rest)
        self._response.finish()

    def _take_held(self) -> bytes:
        held, self._held = self._held, []
        return held[0] if len(held) == 1 else b"".join(held)

    def _start(self, named: Headers, length: int | None = None) -> None:
        """`length`: in bytes, else what the engine said of it."""
        relayed = [header for header in self._engines_headers if header[0] in RELAYED_HEADERS]
        if length is None:
            length = next((int(value) for name, value in self._engines_headers if name == b"content-length"), None)
        self._answer.begin(self._status, relayed, named, length, is_event_stream=self._is_event_stream)

    def on_broken(self) -> None:
        if not self._answer.has_begun:
            self._settle("not_started")
            return
        self._answer.fail(engine_unavailable())
        self._settle("broken")

    def _client_gone(self) -> None:
        """Many leave with a stream's last word and do not wait for the end of its body: they have got it all."""
        self._connection.abort()
        self._settle("completed" if DONE in self._last_events else "client_gone")

    def _look_again_in(self, left_s: float) -> None:
        """Never so late that a stream which starts and stalls meanwhile is noticed after its time."""
        self._timer = self._loop.call_later(min(left_s, self._settings.idle_stream_timeout_s), self._check_time)

    def _check_time(self) -> None:
        """One timer a request, moved when it fires: nothing is paid per chunk."""
        begun = self._answer.has_begun
        limit_s = self._settings.idle_stream_timeout_s if begun else self._settings.first_token_timeout_s
        left_s = self._last_byte_s + limit_s - monotonic()
        if left_s > 0:
            self._look_again_in(left_s)
            return
        self._connection.abort()
        self._answer.fail(idle_stream(limit_s) if begun else first_token_timeout(limit_s), self._named)
        self._settle("timed_out")

    def _refuse(self) -> None:
        """A 4xx is the client's affair and is passed on."""
        document = _json_object(self._error_body)
        if self._status == 404:
            self._answer.fail(unsupported_route(), self._named)
        elif document is None:
            self._answer.fail(engine_refused(self._status), self._named)
        else:
            self._answer.refuse(self._status, document, self._error_body, self._named)

    def _settle(self, outcome: Outcome) -> None:
        self._timer.cancel()
        self._response.on_gone = self._response.on_stall = self._response.on_resume = None
        if outcome not in UNSETTLED:
            self._record.stages.end()
        if not self.outcome.done():
            self.outcome.set_result(outcome)


def _json_object(body: bytes) -> dict[str, object] | None:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


def engine_request(
    path: bytes, body: bytes, host: str, secret: str, request_id: bytes, dispatch: bytes, tenant: str, trace: bytes
) -> bytes:
    """The bytes sent to an engine. None of the client's own headers go along; `dispatch` is for other gateways, and
    `tenant` for the one that hears what was computed, should this gateway be killed. `trace`: whole header lines.
    """
    return (
        b"POST %b HTTP/1.1\r\nhost: %b\r\ncontent-type: application/json\r\nx-baryon-internal-token: %b\r\n"
        b"x-request-id: %b\r\nx-baryon-dispatch: %b\r\nx-baryon-tenant: %b\r\n%bcontent-length: %d\r\n\r\n%b"
    ) % (path, host.encode(), token_now(secret), request_id, dispatch, quote(tenant).encode(), trace, len(body), body)
