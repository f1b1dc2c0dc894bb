"""One answer on a client's connection, framed as HTTP/1.1 has it."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol

from deployments.gateway.client_request import ClientRequest
from deployments.gateway.errors import GatewayError
from deployments.gateway.recipient import Headers

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_CHUNKED = b"transfer-encoding: chunked\r\n"


class Connection(Protocol):
    """What an answer needs of it. `answered`: the answer is finished; another may follow if the connection is kept."""

    closed: bool

    def write(self, data: bytes) -> None: ...

    def answered(self, keep_alive: bool) -> None: ...


class Response:
    """One answer on a client's connection. `on_gone` is called if the client leaves before it is finished.

    `also`: headers that it has whatever it is. `status`: 0 until its head has gone.
    """

    __slots__ = (
        *("_chunked", "_connection", "_finished", "_request"),
        *("also", "on_gone", "on_resume", "on_stall", "started", "status"),
    )

    def __init__(self, connection: Connection, request: ClientRequest) -> None:
        self._connection = connection
        self._request = request
        self._chunked = False
        self._finished = False
        self.started = False
        self.status = 0
        self.also: Headers = []
        self.on_gone: Callable[[], None] | None = None
        self.on_stall: Callable[[], None] | None = None
        self.on_resume: Callable[[], None] | None = None

    @property
    def client_is_gone(self) -> bool:
        return self._connection.closed

    def start(self, status: int, headers: Headers, length: int | None) -> None:
        """Send the head. A body of unknown `length` is chunked, or ends with the connection for HTTP/1.0."""
        self.started, self.status = True, status
        self._chunked = length is None and self._request.is_http_1_1
        if length is None and not self._chunked:
            self._request.keep_alive = False
        head = b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, b""))
        head += b"".join(b"%b: %b\r\n" % header for header in (*headers, *self.also))
        head += _CHUNKED if self._chunked else b"" if length is None else b"content-length: %d\r\n" % length
        head += b"\r\n" if self._request.keep_alive else b"connection: close\r\n\r\n"
        self._connection.write(head)

    def write(self, body: bytes) -> None:
        self._connection.write(b"%x\r\n%b\r\n" % (len(body), body) if self._chunked else body)

    def is_last(self) -> None:
        """The connection closes after this answer; its head says so if it is not sent yet."""
        self._request.keep_alive = False

    def finish(self) -> None:
        if self._chunked:
            self._connection.write(b"0\r\n\r\n")
        self._end(self._request.keep_alive)

    def abort(self) -> None:
        """End without the terminator, so that the client sees the answer is not whole."""
        self._end(keep_alive=False)

    def send(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer at once."""
        self.start(status, headers, len(body))
        if self._request.method != b"HEAD":
            self._connection.write(body)
        self.finish()

    def send_error(self, error: GatewayError, headers: Headers) -> None:
        retry = [(b"retry-after", b"%d" % error.retry_after_s)] if error.retry_after_s is not None else []
        self.send(
            error.status, [(b"content-type", b"application/json"), *retry, *headers], error.body(self._request.path)
        )

    def gone(self) -> None:
        if not self._finished:
            self._finished = True
            if self.on_gone is not None:
                self.on_gone()

    def _end(self, keep_alive: bool) -> None:
        if not self._finished:
            self._finished = True
            self._connection.answered(keep_alive)
