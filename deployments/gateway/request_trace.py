"""What the request path knows of tracing: nothing of OpenTelemetry, which is only loaded where traces are wanted."""

import re
from collections.abc import Mapping
from typing import Protocol

TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?", re.DOTALL)


class RequestTrace(Protocol):
    """One request's trace."""

    @property
    def trace_id(self) -> str: ...

    def asks(self, replica: str) -> bytes:
        """An attempt on a replica begins; the headers by which its engine joins the trace."""

    def below(self) -> dict[bytes, bytes]:
        """Headers by which requests that the gateway itself makes for this one join the trace."""

    def attempt_ends(self, outcome: str) -> None: ...


def trace_id_in(headers: Mapping[bytes, bytes]) -> str:
    """What the client calls the trace, for logs; empty if it has none."""
    match = TRACEPARENT.fullmatch(headers.get(b"traceparent", b""))
    return match[1].decode() if match else ""
