"""What an answer is written to: a client's connection, or memory where the gateway asks an engine for itself."""

from collections.abc import Callable
from typing import Protocol

from deployments.gateway.errors import GatewayError

Header = tuple[bytes, bytes]
Headers = list[Header]


class Recipient(Protocol):
    """As `response.Response` is. `client_is_gone`: nobody reads it any more."""

    also: Headers
    started: bool
    status: int
    on_gone: Callable[[], None] | None
    on_stall: Callable[[], None] | None
    on_resume: Callable[[], None] | None

    @property
    def client_is_gone(self) -> bool: ...

    def start(self, status: int, headers: Headers, length: int | None) -> None: ...

    def write(self, body: bytes) -> None: ...

    def finish(self) -> None: ...

    def abort(self) -> None: ...

    def send(self, status: int, headers: Headers, body: bytes) -> None: ...

    def send_error(self, error: GatewayError, headers: Headers) -> None: ...
