"""`/-/feed` of an engine's server, as gateways see it: a real uvicorn on loopback."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from engine import request_feed
from engine.guard import RouteGuard
from engine.internal_token import token_now
from engine.simulated.api import SimulatedApi
from engine.simulated.core import SimulatedEngine
from engine.simulated.profiles import get_profile
from tests.unit.engine.loopback import DEADLINE_S, Serving, serving

TOKEN = {"x-baryon-internal-token": token_now("good").decode()}
DISPATCH = {**TOKEN, "x-baryon-dispatch": "g1 r1 100 40 -"}


class Inner:
    """Answers with a head, then a body when it may, until it may end."""

    def __init__(self) -> None:
        self.content_type = b"text/event-stream; charset=utf-8"
        self.may_begin, self.may_end = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        headers = [(b"content-type", self.content_type)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await self.may_begin.wait()
        for _ in range(3):
            await send({"type": "http.response.body", "body": b"data: x\n\n", "more_body": True})
        await self.may_end.wait()
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def inner(monkeypatch: pytest.MonkeyPatch) -> Inner:
    monkeypatch.setenv("BARYON_INTERNAL_TOKEN", "good")
    return Inner()


class Listening:
    """A feed as one gateway reads it."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self) -> dict[str, Any]:
        """What comes next, other than a sign of life."""
        async with asyncio.timeout(DEADLINE_S):
            async for line in self._lines:
                if (told := json.loads(line)) != {"e": "alive"}:
                    return dict(told)
        raise EOFError

    async def kinds(self, count: int) -> list[str]:
        return [(await self.next())["e"] for _ in range(count)]

    async def ended(self) -> None:
        with pytest.raises(EOFError):
            await self.next()


@asynccontextmanager
async def client(engine: Serving) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=engine.url, headers=TOKEN, timeout=DEADLINE_S, trust_env=False) as opened:
        yield opened


@asynccontextmanager
async def listening(http: httpx.AsyncClient, gateway: str = "g2", headers: Any = None) -> AsyncIterator[Listening]:
    async with http.stream("GET", "/-/feed", params={"gateway": gateway}, headers=headers) as response:
        yield Listening(response)


async def test_the_feed_is_open_to_who_has_the_token_and_an_id(inner: Inner) -> None:
    async with serving(RouteGuard(inner)) as engine, client(engine) as http:
        refused = await http.get("/-/feed?gateway=g2", headers={"x-baryon-internal-token": "bad"})
        assert refused.status_code == 404
        for query in ("", "?gateway=", "?gateway=a/b", "?gateway=%0a", "?other=g2"):
            assert (await http.get(f"/-/feed{query}")).status_code == 400
        async with listening(http) as feed:
            assert feed.response.status_code == 200
            assert feed.response.headers["content-type"] == "application/x-ndjson"
            assert await feed.next() == {"e": "reset"}


async def test_a_stream_is_told_from_its_begin_to_its_end(inner: Inner) -> None:
    async with serving(RouteGuard(inner)) as engine, client(engine) as http, listening(http) as feed:
        assert await feed.next() == {"e": "reset"}
        asking = asyncio.create_task(http.post("/v1/completions", headers=DISPATCH))
        assert await feed.next() == {"e": "began", "k": "g1/r1", "p": 100, "h": 40, "b": "-"}
        inner.may_begin.set()
        assert await feed.next() == {"e": "first", "k": "g1/r1"}
        inner.may_end.set()
        assert await feed.next() == {"e": "ended", "k": "g1/r1"}
        assert (await asking).text == "data: x\n\n" * 3


async def test_of_an_answer_that_comes_whole_no_first_byte_is_told(inner: Inner) -> None:
    inner.content_type = b"application/json"
    inner.may_begin.set()
    inner.may_end.set()
    async with serving(RouteGuard(inner)) as engine, client(engine) as http, listening(http) as feed:
        await http.post("/v1/completions", headers=DISPATCH)
        assert await feed.kinds(3) == ["reset", "began", "ended"]


async def test_of_a_request_without_the_header_nothing_is_told(inner: Inner) -> None:
    inner.may_begin.set()
    inner.may_end.set()
    async with serving(RouteGuard(inner)) as engine, client(engine) as http, listening(http) as feed:
        await http.post("/v1/completions")
        await http.post("/v1/completions", headers={"x-baryon-dispatch": "\x7f"})
        await http.post("/v1/completions", headers=DISPATCH)
        assert await feed.kinds(4) == ["reset", "began", "first", "ended"]


async def test_a_client_that_leaves_ends_its_request_for_the_others_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the simulated engine, which stops generating then, as vLLM does."""
    monkeypatch.setenv("BARYON_INTERNAL_TOKEN", "good")
    api = SimulatedApi(SimulatedEngine(get_profile("llama-3.1-8b-h100-tp1"), 8, 8192, 8), "m", 4096)
    body = {"prompt": "Hello", "stream": True, "max_tokens": 4000}
    async with serving(RouteGuard(api.app())) as engine, client(engine) as http, listening(http) as feed:
        assert await feed.next() == {"e": "reset"}
        async with http.stream("POST", "/v1/completions", headers=DISPATCH, json=body) as answer:
            await anext(answer.aiter_raw())
            assert await feed.kinds(2) == ["began", "first"]
        assert await feed.next() == {"e": "ended", "k": "g1/r1"}


async def test_an_engine_tells_nobody_after_its_listeners_left(inner: Inner) -> None:
    guard = RouteGuard(inner)
    async with serving(guard) as engine, client(engine) as http:
        async with listening(http) as feed, listening(http, "g3") as other:
            await feed.next(), await other.next()
        async with asyncio.timeout(DEADLINE_S):
            while guard._feed._subscriptions:
                await asyncio.sleep(0.005)


@pytest.mark.parametrize("http_server", ["httptools", "h11"])
async def test_an_open_feed_does_not_keep_the_server_from_shutting_down(inner: Inner, http_server: str) -> None:
    async with serving(RouteGuard(inner), http_server) as engine, client(engine) as http, listening(http) as feed:
        assert await feed.next() == {"e": "reset"}
        begun_s = time.monotonic()
        await engine.shut_down()
        assert time.monotonic() - begun_s < 2.0
        await feed.ended()


async def test_nor_as_middleware_of_an_application_which_is_how_vllm_has_it(inner: Inner) -> None:
    app = Starlette()
    app.add_middleware(RouteGuard)
    async with serving(app) as engine, client(engine) as http, listening(http) as feed:
        assert await feed.next() == {"e": "reset"}
        begun_s = time.monotonic()
        await engine.shut_down()
        assert time.monotonic() - begun_s < 2.0
        await feed.ended()


async def test_who_asks_to_close_gets_what_is_open_now(inner: Inner) -> None:
    async with serving(RouteGuard(inner)) as engine, client(engine) as http:
        asking = asyncio.create_task(http.post("/v1/completions", headers=DISPATCH))
        async with listening(http) as feed:
            assert await feed.kinds(2) == ["reset", "began"]
        now = await http.get("/-/feed?gateway=g2", headers={"connection": "close"})
        assert [json.loads(line)["e"] for line in now.text.splitlines()] == ["reset", "began"]
        inner.may_begin.set()
        inner.may_end.set()
        await asking


async def test_who_does_not_read_is_cut_off(inner: Inner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_feed, "MAX_PENDING_BYTES", 10_000)
    guard = RouteGuard(inner)
    async with serving(guard) as engine:
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", engine.port))
        token = token_now("good")
        slow.sendall(b"GET /-/feed?gateway=slow HTTP/1.1\r\nhost: e\r\nx-baryon-internal-token: %b\r\n\r\n" % token)
        told = guard._feed.began(b"g1 open 1 0 -")
        assert told is not None
        async with asyncio.timeout(DEADLINE_S):
            while not guard._feed._subscriptions:
                await asyncio.sleep(0.005)
            while guard._feed._subscriptions:
                for number in range(20):
                    guard._feed.began(b"g1 %d 1 0 %b" % (number, b"A" * 4096))
                await asyncio.sleep(0)
        slow.close()
