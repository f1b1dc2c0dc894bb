"""What reaches an engine's server: only listed routes, only with the token."""

import asyncio
from typing import Any

import pytest

from engine.guard import COUNTED_ROUTES, RouteGuard
from engine.internal_token import token_now

GOOD = token_now("good")


class Inner:
    def __init__(self) -> None:
        self.calls = 0
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.calls += 1
        if scope["path"] == "/v1/messages":
            raise RuntimeError("engine error")
        await self.may_go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"inner"})


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> tuple[RouteGuard, Inner]:
    monkeypatch.setenv("BARYON_INTERNAL_TOKEN", "good")
    inner = Inner()
    return RouteGuard(inner), inner


async def call(
    guard: RouteGuard, method: str, path: str, token: bytes | None = GOOD, raw: bytes | None = None
) -> tuple[int, bytes]:
    headers = [(b"x-baryon-internal-token", token)] if token is not None else []
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "raw_path": raw or path.encode(), "headers": headers}
    await guard(scope, lambda: None, send)  # type: ignore[arg-type, return-value]
    return sent[0]["status"], sent[1]["body"]


async def test_a_listed_route_with_the_token_goes_through(guarded: tuple[RouteGuard, Inner]) -> None:
    assert await call(guarded[0], "POST", "/v1/completions") == (200, b"inner")
    assert (await call(guarded[0], "GET", "/metrics"))[0] == 200


@pytest.mark.parametrize("token", [None, b"", b"bad", b"good", GOOD + b"x", GOOD[:-1], GOOD.upper()])
async def test_without_the_token_nothing_exists(guarded: tuple[RouteGuard, Inner], token: bytes | None) -> None:
    for path in ("/v1/completions", "/-/load", "/health"):
        assert (await call(guarded[0], "POST", path, token))[0] == 404
    assert guarded[1].calls == 0


@pytest.mark.parametrize(
    ("method", "path", "raw"),
    [
        ("POST", "/invocations", None),
        ("POST", "/pause", None),
        ("POST", "/inference/v1/abort_requests", None),
        ("GET", "/inference/v1/generate", None),
        ("GET", "/v1/completions", None),
        ("POST", "/v1/completions", b"/v1%2fcompletions"),
        ("POST", "/v1/completions", b"//v1/completions"),
        ("POST", "/tokenize/", None),
    ],
)
async def test_off_the_list_nothing_exists(
    guarded: tuple[RouteGuard, Inner], method: str, path: str, raw: bytes | None
) -> None:
    assert (await call(guarded[0], method, path, raw=raw))[0] == 404
    assert guarded[1].calls == 0


async def test_the_count_in_flight_returns_to_zero_whatever_happens(guarded: tuple[RouteGuard, Inner]) -> None:
    assert await call(guarded[0], "GET", "/-/load") == (200, b'{"in_flight":0}')
    with pytest.raises(RuntimeError):
        await call(guarded[0], "POST", "/v1/messages")
    assert await call(guarded[0], "GET", "/-/load") == (200, b'{"in_flight":0}')


async def test_load_tells_the_generations_inside_and_only_those(guarded: tuple[RouteGuard, Inner]) -> None:
    guard, inner = guarded
    inner.may_go_on.clear()
    paths = [path.decode() for _, path in sorted(COUNTED_ROUTES) if path != b"/v1/messages"]
    running = [asyncio.create_task(call(guard, "POST", path)) for path in paths]
    running.append(asyncio.create_task(call(guard, "GET", "/metrics")))
    await asyncio.sleep(0)
    assert await call(guard, "GET", "/-/load") == (200, b'{"in_flight":%d}' % len(paths))
    running[0].cancel()
    await asyncio.wait(running[:1])
    assert await call(guard, "GET", "/-/load") == (200, b'{"in_flight":%d}' % (len(paths) - 1))
    inner.may_go_on.set()
    await asyncio.gather(*running[1:])
    assert await call(guard, "GET", "/-/load") == (200, b'{"in_flight":0}')


async def test_a_websocket_does_not_reach_the_engine(guarded: tuple[RouteGuard, Inner]) -> None:
    headers = [(b"x-baryon-internal-token", GOOD)]
    scope = {"type": "websocket", "path": "/v1/realtime", "raw_path": b"/v1/realtime", "headers": headers}

    async def ignore(_: Any) -> None:
        pass

    await guarded[0](scope, lambda: None, ignore)  # type: ignore[arg-type, return-value]
    assert guarded[1].calls == 0


async def test_the_servers_own_start_and_end_pass(guarded: tuple[RouteGuard, Inner]) -> None:
    async def ignore(_: Any) -> None:
        pass

    await guarded[0]({"type": "lifespan", "path": ""}, lambda: None, ignore)  # type: ignore[arg-type, return-value]
    assert guarded[1].calls == 1


def test_without_a_token_the_server_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BARYON_INTERNAL_TOKEN", raising=False)
    with pytest.raises(KeyError):
        RouteGuard(Inner())


async def test_one_that_drains_finishes_what_runs_and_refuses_what_is_new(guarded: tuple[RouteGuard, Inner]) -> None:
    guard, inner = guarded
    inner.may_go_on.clear()
    running = asyncio.create_task(call(guard, "POST", "/v1/completions"))
    await asyncio.sleep(0)
    assert await call(guard, "POST", "/-/drain") == (200, b'{"in_flight":1}')
    assert (await call(guard, "POST", "/v1/completions"))[0] == 421
    assert (await call(guard, "POST", "/inference/v1/generate"))[0] == 421
    inner.may_go_on.set()
    assert await running == (200, b"inner")
    assert await call(guard, "GET", "/-/load") == (200, b'{"in_flight":0}')
    assert (await call(guard, "GET", "/metrics"))[0] == 200
