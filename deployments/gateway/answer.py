"""What a client gets for one request, from what it is told while it waits to the end, in the form still possible."""

from collections.abc import Sequence

import orjson

from deployments.gateway.errors import ANTHROPIC_ROUTE, GatewayError
from deployments.gateway.recipient import Header, Headers, Recipient
from deployments.gateway.request_record import RequestRecord

EVENT_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")
JSON = (b"content-type", b"application/json")


class Answer:
    """`has_begun`: bytes of an engine have gone to the client, so no other engine can answer any more.

    The head of a stream may have gone long before that, with comments that say what is waited for. What goes wrong
    after a stream's head is an event, followed by the end without the terminator: the answer is not whole.

    The head says where the time went until it left, by `Server-Timing`. Of a recipe's stream it may have gone before.
    """

    __slots__ = ("_headers", "_is_event_stream", "_path", "has_begun", "record", "response")

    def __init__(self, response: Recipient, path: bytes, headers: Headers, record: RequestRecord) -> None:
        self.response = response
        self.record = record
        self.has_begun = False
        self._path = path
        self._headers = headers
        self._is_event_stream = response.started

    @property
    def has_to_stream(self) -> bool:
        """The client has the head of a stream, and nothing of an engine yet."""
        return self._is_event_stream and not self.has_begun

    def say(self, words: str) -> None:
        """A comment, which clients of event streams skip; the head goes before the first."""
        if not self.response.started:
            self._is_event_stream = True
            self.response.start(200, [EVENT_STREAM, *self._own()], None)
        self.response.write(b": baryon: %b\n\n" % " ".join(words.split()).encode())

    def begin(
        self, status: int, engines: Headers, named: Headers, length: int | None, *, is_event_stream: bool
    ) -> None:
        """The engine's answer is here. `named` say which engine it is; too late for a header, they are a comment."""
        self.has_begun = True
        if self.response.started:
            self.response.write(b"".join(b": %b: %b\n" % header for header in named) + b"\n")
            return
        self._is_event_stream = is_event_stream
        self.response.start(status, [*engines, *self._own(), *named], length)

    def fail(self, error: GatewayError, named: Sequence[Header] = ()) -> None:
        self.record.ended_by(error)
        if not self.response.started:
            self.response.send_error(error, [*self._own(), *named])
        else:
            self._break_off(error.body(self._path))
        self.record.stages.end()

    def tell(self, body: bytes) -> None:
        """A whole answer of the gateway's own: a JSON document."""
        self.response.send(200, [JSON, *self._own()], body)

    def refuse(self, status: int, document: object, body: bytes, named: Headers) -> None:
        """What the engine says of a request that it does not take: a JSON document, and the bytes of it."""
        self.record.error_code = "engine_refused"
        if not self.response.started:
            self.response.send(status, [JSON, *self._own(), *named], body)
        else:
            self._break_off(orjson.dumps(document))

    def _own(self) -> Headers:
        return [*self._headers, (b"server-timing", self.record.server_timing())]

    def _break_off(self, document: bytes) -> None:
        """The document on one line, if this is a stream of events, then the end without the terminator."""
        if self._is_event_stream:
            event = b"event: error\n" if self._path == ANTHROPIC_ROUTE else b""
            self.response.write(event + b"data: " + document + b"\n\n")
        self.response.abort()
