"""A tenant's limits hold for what its recipes ask of engines."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest

from deployments.gateway.errors import GatewayError
from deployments.gateway.recipes.inner_calls import InnerCalls, Origin
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.tenants.api_key import new_api_key
from deployments.gateway.tenants.bins import Moment
from deployments.gateway.tenants.borrower import Borrower
from deployments.gateway.tenants.lease import Reply, Report
from deployments.gateway.tenants.spending import system_moment
from deployments.gateway.tenants.tenant import Limits, Tenant
from deployments.lender import LISTENS_S, Lender
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import MODEL, Answer, Stand, post, stand, until
from tests.unit.gateway.keys import keyring_of
from tests.unit.gateway.recipes.engine import CONTEXT_TOKENS, ChatEngine
from tests.unit.gateway.recipes.test_inner_calls import ASKED, CHAT, OUTER
from tests.unit.gateway.scripted_engine import Exchange

LONG = "".join(f"The ship number {number} left the port of Genoa. " for number in range(60))
HELD = "Hold this one."


@dataclass
class Limited:
    stand: Stand
    key: str

    async def ask(self, name: str, body: dict[str, Any]) -> Answer:
        return await self.stand.ask(post(f"/v1/recipes/{name}", body, f"authorization: Bearer {self.key}\r\n"))


Open = Callable[[ChatEngine, Limits], Awaitable[Limited]]


@pytest.fixture
async def opened(start_engine: StartEngine) -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:

        async def start(engine: ChatEngine, limits: Limits) -> Limited:
            now = system_moment()
            lender = Lender("epoch", Moment(now.now_s - LISTENS_S, now.day), lambda day, key: {})

            async def lend(report: Report) -> Reply:
                return lender.exchange(report, system_moment())

            _, key = new_api_key()
            keyring = keyring_of({key: Tenant("acme", limits)})
            made = await stack.enter_async_context(stand([await start_engine(engine)], 64, GatewaySettings(), keyring))
            known = [replace(one, max_model_len=CONTEXT_TOKENS) for one in made.replicas.of(MODEL)]
            made.gateway.set_replicas(MODEL, known)
            borrowing = asyncio.create_task(Borrower(made.gateway.app.spending, lend).run())
            stack.callback(borrowing.cancel)
            return Limited(made, key)

        yield start


async def test_each_engine_call_is_a_request_of_the_tenants(opened: Open) -> None:
    limited = await opened(ChatEngine(), Limits(requests_per_minute=2))
    answers = [await limited.ask("answer", {"inputs": {"question": "Why?"}}) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["1", "0", "0"]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 61
    assert answers[-1].error["code"] == "rate_limit_exceeded"


async def test_a_stream_is_refused_with_a_status_too(opened: Open) -> None:
    limited = await opened(ChatEngine(), Limits(requests_per_minute=1))
    body = {"inputs": {"question": "Why?"}, "stream": True}
    first, second = [await limited.ask("answer", body) for _ in range(2)]
    assert first.body.endswith(b"data: [DONE]\n\n")
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    assert (second.status, second.error["code"]) == (429, "rate_limit_exceeded")


@pytest.mark.parametrize("at_once", [1, 3])
async def test_a_recipe_of_many_calls_takes_no_more_slots_than_its_tenant_has(opened: Open, at_once: int) -> None:
    limited = await opened(ChatEngine("Note."), Limits(concurrent_requests=at_once))
    answer = await limited.ask("summarize", {"inputs": {"text": LONG}, "max_tokens": 60})
    assert answer.status == 200
    assert answer.json()["pieces"] > 3


async def test_a_recipe_that_ran_out_half_way_says_so_and_asks_no_more(opened: Open) -> None:
    engine = ChatEngine("Note.")
    limited = await opened(engine, Limits(requests_per_minute=4))
    answer = await limited.ask("summarize", {"inputs": {"text": LONG}, "max_tokens": 60})
    assert (answer.status, answer.error["code"]) == (429, "rate_limit_exceeded")
    await limited.stand.settled()
    assert 2 <= len(engine.asked) <= 4, "those that were on their way may have been called back before they arrived"


class HeldEngine(ChatEngine):
    """Chats of clients that say HELD wait until `release` is set; others take longer than state to say that there is no
    slot.
    """

    def __init__(self) -> None:
        super().__init__("Note.")
        self.release = asyncio.Event()

    async def __call__(self, exchange: Exchange) -> None:
        if HELD.encode() in exchange.body:
            self.asked.append(("held", {}))
            await self.release.wait()
        await asyncio.sleep(0.1)
        await super().__call__(exchange)


def held(limited: Limited) -> bytes:
    body = {"model": MODEL, "messages": [{"role": "user", "content": HELD}], "max_tokens": 5}
    return post(body=body, headers=f"authorization: Bearer {limited.key}\r\n")


async def test_a_recipe_waits_for_a_slot_that_its_tenant_uses_otherwise(opened: Open) -> None:
    """Of two slots, a chat has one; what the recipe would ask at once goes through the other, one after another."""
    engine = HeldEngine()
    limited = await opened(engine, Limits(concurrent_requests=2))
    chat = asyncio.create_task(limited.stand.ask(held(limited)))
    await until(lambda: bool(engine.asked))
    answer = await limited.ask("summarize", {"inputs": {"text": LONG}, "max_tokens": 60})
    assert answer.status == 200, answer.body
    assert answer.json()["pieces"] > 3
    assert limited.stand.gateway.app.spending.limited == {}
    engine.release.set()
    assert (await chat).status == 200


async def test_a_recipe_that_finds_no_slot_at_all_is_refused_as_a_request_is(opened: Open) -> None:
    engine = HeldEngine()
    limited = await opened(engine, Limits(concurrent_requests=1))
    chat = asyncio.create_task(limited.stand.ask(held(limited)))
    await until(lambda: bool(engine.asked))
    answer = await limited.ask("summarize", {"inputs": {"text": LONG}, "max_tokens": 60})
    assert (answer.status, answer.error["code"]) == (429, "rate_limit_exceeded")
    assert len(engine.asked) == 1
    engine.release.set()
    assert (await chat).status == 200


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_recipe_waits_no_longer_than_any_request_may_and_not_for_who_has_left(
    opened: Open, leaves: bool
) -> None:
    """Its first call is let in; then a chat of its tenant has the only slot."""
    engine = HeldEngine()
    limited = await opened(engine, Limits(concurrent_requests=1))
    limited.stand.gateway.settings = GatewaySettings(queue_max_wait_s=60 if leaves else 0.3)
    app = limited.stand.gateway.app
    tenant = app.door.tenant({b"authorization": f"Bearer {limited.key}".encode()})
    calls, asked = InnerCalls(app, OUTER, tenant, Origin("req-outer", "answer")), {**ASKED, "max_tokens": 5}
    await calls.ask(CHAT, dict(asked))
    chat = asyncio.create_task(limited.stand.ask(held(limited)))
    await until(lambda: len(engine.asked) == 2)
    asking = asyncio.create_task(calls.ask(CHAT, dict(asked)))
    if leaves:
        await until(lambda: calls.begun == 2)
        calls.leave()
    with pytest.raises(GatewayError) as raised:
        await asking
    assert raised.value.status == (499 if leaves else 429)
    engine.release.set()
    assert (await chat).status == 200
    assert len(engine.asked) == 3
    await limited.stand.settled()
