"""What a client asks, as it was on the wire."""

from dataclasses import dataclass

from deployments.gateway.errors import GatewayError


@dataclass(slots=True)
class ClientRequest:
    """A whole request. `path` is the raw target up to `?`, `query` what follows it; header names are lower-case.

    `refusal`: what it was refused for before it was whole. Its body was then let go as it came.
    """

    method: bytes
    path: bytes
    headers: dict[bytes, bytes]
    body: bytes
    keep_alive: bool
    is_http_1_1: bool
    refusal: GatewayError | None = None
    query: bytes = b""
