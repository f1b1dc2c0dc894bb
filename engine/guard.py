"""The only code of ours that runs inside an engine's server: who may call it, and on which routes.

vLLM adds it by `--middleware engine.guard.RouteGuard`. vLLM's own API key leaves `/tokenize`, `/invocations`, `/pause`,
`/update_weights` and more open, so everything that is not on the list below does not exist here.
"""

import hmac
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

TOKEN_HEADER = b"x-baryon-internal-token"
LOAD_ROUTE = ("GET", b"/-/load")
GENERATION_ROUTES = frozenset(
    ("POST", path)
    for path in (
        b"/v1/chat/completions",
        b"/v1/completions",
        b"/v1/embeddings",
        b"/v1/responses",
        b"/v1/messages",
        b"/tokenize",
        b"/detokenize",
    )
)
ALLOWED_ROUTES = GENERATION_ROUTES | {("GET", b"/v1/models"), ("GET", b"/health"), ("GET", b"/metrics")}


class RouteGuard:
    """ASGI middleware: 404 for a request without the token or off the list; counts generations in flight.

    Raises:
        KeyError: `BARYON_INTERNAL_TOKEN` is not in the environment.
    """

    def __init__(self, app: Application) -> None:
        self._app = app
        self._token = os.environ["BARYON_INTERNAL_TOKEN"].encode()
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        route = (scope.get("method", scope["type"]), scope.get("raw_path") or scope["path"].encode())
        if not self._has_token(scope):
            await _respond(send, 404, b'{"error":{"message":"Not Found","type":"NotFoundError","code":404}}')
        elif route in GENERATION_ROUTES:
            await self._count(scope, receive, send)
        elif route in ALLOWED_ROUTES:
            await self._app(scope, receive, send)
        elif route == LOAD_ROUTE:
            await _respond(send, 200, b'{"in_flight":%d}' % self._in_flight)
        else:
            await _respond(send, 404, b'{"error":{"message":"Not Found","type":"NotFoundError","code":404}}')

    def _has_token(self, scope: Scope) -> bool:
        return any(
            name == TOKEN_HEADER and hmac.compare_digest(value, self._token) for name, value in scope.get("headers", ())
        )

    async def _count(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._in_flight += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_flight -= 1


async def _respond(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
