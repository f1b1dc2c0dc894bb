"""The only code of ours that runs inside an engine's server: who may call it, and on which routes.

vLLM adds it by `--middleware engine.guard.RouteGuard`. vLLM's own API key leaves `/tokenize`, `/invocations`, `/pause`,
`/update_weights` and more open, so everything that is not on the list below does not exist here. Clients may ask for
`GENERATION_ROUTES`; gateways ask for the `INTERNAL_GENERATION_ROUTES` too, on their own account.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from engine.computed import Computing
from engine.internal_token import is_token
from engine.request_feed import DISPATCH_HEADER, TENANT_HEADER, RequestFeed, Subscription, Told

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

TOKEN_HEADER = b"x-baryon-internal-token"
LOAD_ROUTE = ("GET", b"/-/load")
DRAIN_ROUTE = ("POST", b"/-/drain")
LEAVING = 421
FEED_ROUTE = ("GET", b"/-/feed")
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
TOKENS_ROUTE = b"/inference/v1/generate"
INTERNAL_GENERATION_ROUTES = frozenset({("POST", TOKENS_ROUTE)})
COUNTED_ROUTES = GENERATION_ROUTES | INTERNAL_GENERATION_ROUTES
ALLOWED_ROUTES = COUNTED_ROUTES | {("GET", b"/v1/models"), ("GET", b"/health"), ("GET", b"/metrics")}


class RouteGuard:
    """ASGI middleware: 404 for a request without the token or off the list.

    Counts generations in flight, and tells each gateway that asks at `/-/feed` of the other gateways' ones. After
    `POST /-/drain` it finishes those and answers 421 (Misdirected Request) to any more: another replica is asked then.

    Raises:
        KeyError: `BARYON_INTERNAL_TOKEN` is not in the environment.
    """

    def __init__(self, app: Application) -> None:
        self._app = app
        self._secret = os.environ["BARYON_INTERNAL_TOKEN"]
        self._in_flight = 0
        self._is_draining = False
        self._feed = RequestFeed()
        self._telling: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        route = (scope.get("method", scope["type"]), scope.get("raw_path") or scope["path"].encode())
        if not self._has_token(scope):
            await _respond(send, 404, b'{"error":{"message":"Not Found","type":"NotFoundError","code":404}}')
        elif route in COUNTED_ROUTES and self._is_draining:
            await _respond(send, LEAVING, b'{"error":{"message":"This replica is leaving.","code":421}}')
        elif route in COUNTED_ROUTES:
            await self._generate(scope, receive, send)
        elif route in ALLOWED_ROUTES:
            await self._app(scope, receive, send)
        elif route in (LOAD_ROUTE, DRAIN_ROUTE):
            self._is_draining |= route == DRAIN_ROUTE
            await _respond(send, 200, b'{"in_flight":%d}' % self._in_flight)
        elif route == FEED_ROUTE:
            await self._tell_of_others(scope, receive, send)
        else:
            await _respond(send, 404, b'{"error":{"message":"Not Found","type":"NotFoundError","code":404}}')

    def _has_token(self, scope: Scope) -> bool:
        return any(name == TOKEN_HEADER and is_token(self._secret, value) for name, value in scope.get("headers", ()))

    async def _generate(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        told = self._feed.began(headers.get(DISPATCH_HEADER), headers.get(TENANT_HEADER, b""))
        computing = Computing(scope, receive, headers.get(b"x-request-id", b""))
        self._in_flight += 1
        try:
            if told is None:
                await self._app(scope, receive, send)
            else:
                await self._app(scope, computing.receive, self._noting(told, computing, send))
        finally:
            self._in_flight -= 1
            if told is not None:
                self._feed.ended(told)
                self._tell_spent(told, computing)

    def _tell_spent(self, told: Told, computing: Computing) -> None:
        """An engine is through with a request that was cut a little after its answer is given up."""
        if not computing.is_cut:
            computed = computing.said()
            if computed is not None:
                self._feed.spent(told, computed, is_cut=False)
            return
        task = asyncio.create_task(self._tell_computed(told, computing))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell_computed(self, told: Told, computing: Computing) -> None:
        computed = await computing.computed()
        if computed is not None:
            self._feed.spent(told, computed, is_cut=True)

    def _noting(self, told: Told, computing: Computing, send: Send) -> Send:
        """Only a stream has a first byte that means anything: another answer comes whole."""
        waits_for_it = False

        async def note(message: Message) -> None:
            nonlocal waits_for_it
            if message["type"] == "http.response.start":
                waits_for_it = _is_event_stream(message)
            elif body := message.get("body"):
                computing.sent(body)
                if waits_for_it:
                    waits_for_it = False
                    self._feed.first_byte(told)
            await send(message)

        return note

    async def _tell_of_others(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Until the client leaves or does not read, or the server shuts down.

        A client that asks for `connection: close` gets only what is open now.
        """
        try:
            subscription = self._feed.subscribe(parse_qs(scope["query_string"]).get(b"gateway", [b""])[0])
        except ValueError:
            await _respond(send, 400, b'{"error":{"message":"gateway: not an id","type":"BadRequestError","code":400}}')
            return
        telling = asyncio.create_task(_stream(subscription, receive, send))
        leaving = asyncio.create_task(_client_left(receive))
        try:
            await asyncio.wait({telling, leaving, subscription.cut_off}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            subscription.close()
            telling.cancel()
            leaving.cancel()
            await asyncio.wait({telling, leaving})


async def _stream(subscription: Subscription, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"application/x-ndjson"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    async for lines in subscription:
        await send({"type": "http.response.body", "body": lines, "more_body": True})
        if _connection_is_to_close(receive):
            break
    await send({"type": "http.response.body", "body": b""})


async def _client_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


def _connection_is_to_close(receive: Receive) -> bool:
    """Whether uvicorn shuts down: it waits for every answer to end, and says so to applications by nothing else."""
    return getattr(getattr(receive, "__self__", None), "keep_alive", True) is False


def _is_event_stream(start: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(b"text/event-stream")
        for name, value in start.get("headers", ())
    )


async def _respond(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
