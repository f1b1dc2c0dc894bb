"""An engine says what it computed of each request: to its gateway, or if that is gone to one of the others."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from engine import request_feed
from engine.computed import Computed, read_computed
from engine.guard import RouteGuard
from engine.request_feed import RequestFeed, Told
from engine.simulated.api import SimulatedApi
from engine.simulated.core import SimulatedEngine
from engine.simulated.profiles import get_profile
from tests.unit.engine.loopback import Serving, serving
from tests.unit.engine.test_feed_route import Listening, client, listening

BODY = {"model": "m", "prompt": "tell me of rivers", "max_tokens": 200, "ignore_eos": True}


@pytest.fixture
async def engine(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[SimulatedEngine, Serving]]:
    monkeypatch.setenv("BARYON_INTERNAL_TOKEN", "good")
    monkeypatch.setattr(request_feed, "ORPHANED_AFTER_S", 0.2)
    simulated = SimulatedEngine(get_profile("llama-3.1-8b-h100-tp1"), 64, 8192, 64)
    async with serving(RouteGuard(SimulatedApi(simulated, "m", 4096).app())) as served:
        yield simulated, served


def headers(key: str, gateway: str = "g1") -> dict[str, str]:
    return {"x-baryon-dispatch": f"{gateway} {key} 100 40 -", "x-baryon-tenant": "acme%20ltd", "x-request-id": key}


async def next_of(feed: Listening, kind: str) -> dict[str, Any]:
    while (told := await feed.next())["e"] != kind:
        continue
    return told


@asynccontextmanager
async def asking(http: httpx.AsyncClient, **more: Any) -> AsyncIterator[httpx.Response]:
    body = {**BODY, "stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}, **more}
    async with http.stream("POST", "/v1/completions", json=body, headers=headers("r1")) as response:
        yield response


async def test_what_a_whole_answer_took_is_told_to_its_gateway_alone(engine: tuple[SimulatedEngine, Serving]) -> None:
    async with client(engine[1]) as http, listening(http, "g1") as mine, listening(http, "g2") as other:
        answer = await http.post("/v1/completions", json={**BODY, "max_tokens": 3}, headers=headers("r1"))
        usage = answer.json()["usage"]
        told = await next_of(mine, "spent")
        assert told == {"e": "spent", "k": "g1/r1", "p": usage["prompt_tokens"], "h": 0, "o": 3}
        await next_of(other, "ended")
        await http.post("/v1/completions", json={**BODY, "max_tokens": 1}, headers=headers("r2"))
        assert (await other.next())["e"] == "began"


@pytest.mark.parametrize("n", [1, 3])
async def test_a_stream_that_is_cut_counts_what_the_engine_has_computed(
    engine: tuple[SimulatedEngine, Serving], n: int
) -> None:
    simulated, served = engine
    async with client(served) as http, listening(http, "g1") as feed:
        async with asking(http, n=n) as response:
            async for _ in response.aiter_lines():
                break
        told = await next_of(feed, "spent")
        assert told["o"] == simulated.counters.generation_tokens > 0
        assert told["p"] == simulated.counters.prompt_tokens > 0


async def test_an_answer_that_never_came_is_told_to_another_gateway_if_its_own_is_gone(
    engine: tuple[SimulatedEngine, Serving],
) -> None:
    simulated, served = engine
    async with client(served) as http, listening(http, "g2") as feed:
        with pytest.raises(httpx.ReadTimeout):
            await http.post("/v1/completions", json=BODY, headers=headers("r1"), timeout=0.3)
        told = await next_of(feed, "orphan")
        counters = simulated.counters
        assert told == {
            "e": "orphan",
            "t": "acme%20ltd",
            "p": counters.prompt_tokens,
            "h": 0,
            "o": counters.generation_tokens,
        }


async def test_with_no_gateway_left_the_next_one_hears_it_and_no_second(
    engine: tuple[SimulatedEngine, Serving],
) -> None:
    async with client(engine[1]) as http:
        with pytest.raises(httpx.ReadTimeout):
            await http.post("/v1/completions", json=BODY, headers=headers("r1"), timeout=0.3)
        async with listening(http, "g3") as feed:
            assert (await feed.next())["e"] == "reset"
            assert (await feed.next())["e"] == "orphan"
        async with listening(http, "g4") as feed:
            assert (await feed.next())["e"] == "reset"
            await http.post("/v1/completions", json={**BODY, "max_tokens": 1}, headers=headers("r2"))
            assert (await feed.next())["e"] == "began"


async def test_of_a_gateway_that_is_gone_only_what_its_clients_have_not_seen_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was streamed to it, it has told state of itself, but for its last second."""
    monkeypatch.setattr(request_feed, "ORPHANED_AFTER_S", 0.0)
    feed = RequestFeed()
    other = feed.subscribe(b"g2")
    for told, is_cut in (
        (Told(b"g1", b"g1/a", 1, 0, b"-", got_first_byte=True, tenant=b"t"), True),
        (Told(b"g1", b"g1/b", 1, 0, b"-", tenant=b"t"), False),
        (Told(b"g1", b"g1/c", 1, 0, b"-"), True),
        (Told(b"g1", b"g1/d", 1, 0, b"-", tenant=b"t"), True),
    ):
        feed.spent(told, Computed(10, 0, 5), is_cut=is_cut)
    assert await anext(other) == b'{"e":"reset"}\n'
    assert await anext(other) == b'{"e":"orphan","t":"t","p":10,"h":0,"o":5}\n'


async def test_a_gateway_that_lost_the_feed_for_a_moment_hears_what_it_missed_and_nobody_else_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(request_feed, "ORPHANED_AFTER_S", 0.05)
    monkeypatch.setattr(request_feed, "ALIVE_S", 0.2)
    feed = RequestFeed()
    other = feed.subscribe(b"g2")
    feed.spent(Told(b"g1", b"g1/d", 1, 0, b"-", tenant=b"t"), Computed(10, 0, 5), is_cut=True)
    mine = (await anext(feed.subscribe(b"g1"))).splitlines()
    assert mine == [b'{"e":"reset"}', b'{"e":"spent","k":"g1/d","p":10,"h":0,"o":5}']
    assert await anext(other) == b'{"e":"reset"}\n'
    assert await anext(other) == b'{"e":"alive"}\n'


SAID = {
    "vLLM": (b'{"usage":{"prompt_tokens":7,"total_tokens":10,"completion_tokens":3}}', Computed(7, 0, 3)),
    "with details": (
        b'"usage":{"prompt_tokens":7,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":4}}',
        Computed(7, 4, 3),
    ),
    "responses": (b'"usage":{"input_tokens":7,"output_tokens":3}', Computed(7, 0, 3)),
    "embeddings": (b'{"usage":{"prompt_tokens":7,"total_tokens":7}}', Computed(7, 0, 0)),
    "the last one": (
        b'"usage":{"prompt_tokens":7,"completion_tokens":1}}"usage":{"prompt_tokens":7,"completion_tokens":2}',
        Computed(7, 0, 2),
    ),
    "not yet": (b'{"usage":null}', None),
    "nothing": (b"", None),
}


@pytest.mark.parametrize(("told", "computed"), SAID.values(), ids=SAID)
def test_an_answer_says_itself_what_it_took(told: bytes, computed: Computed | None) -> None:
    assert read_computed(told) == computed
