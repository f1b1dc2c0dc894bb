"""A recipe asks engines on the path of every other request."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from deployments.gateway.client_request import ClientRequest
from deployments.gateway.errors import GatewayError
from deployments.gateway.recipes.inner_calls import InnerCalls, Origin
from deployments.gateway.recipes.recipe_answer import usage
from deployments.gateway.recipient import Recipient
from deployments.gateway.request_record import RequestRecord
from deployments.gateway.tenants.tenant import ANYONE, Limits, Tenant
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import MODEL, OpenStand, Stand, until
from tests.unit.gateway.keys import keyring_of
from tests.unit.gateway.scripted_engine import Exchange, ScriptedEngine, hang_up, never_answer, unary

CHAT = b"/v1/chat/completions"
ASKED = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
OUTER = ClientRequest(b"POST", b"/v1/recipes/answer", {}, b"", keep_alive=True, is_http_1_1=True)
ANSWER = unary(b'{"choices":[],"usage":{"prompt_tokens":40,"completion_tokens":6}}')


def calls_of(stand: Stand, tenant: Tenant = ANYONE) -> InnerCalls:
    return InnerCalls(stand.gateway.app, OUTER, tenant, Origin("req-outer", "answer"))


Opened = tuple[Stand, ScriptedEngine]
Open = Callable[..., Awaitable[Opened]]


@pytest.fixture
def opened(start_engine: StartEngine, open_stand: OpenStand) -> Open:
    async def start(script: Callable[[Exchange], Awaitable[None]], max_in_flight: int = 8) -> Opened:
        engine = await start_engine(script)
        return await open_stand(engine, max_in_flight=max_in_flight), engine

    return start


async def test_the_engines_answer_comes_back_whole_and_the_engine_gets_what_was_asked(opened: Open) -> None:
    stand, engine = await opened(ANSWER)
    answer = await calls_of(stand).ask(CHAT, {**ASKED, "logprob_token_ids": [1, 2]})
    assert answer["usage"]["prompt_tokens"] == 40
    assert orjson.loads(engine.exchanges[0].body)["logprob_token_ids"] == [1, 2]
    assert engine.exchanges[0].head.startswith(b"POST /v1/chat/completions ")
    await stand.settled()


async def test_a_call_is_recorded_and_found_by_the_id_that_the_client_knows(opened: Open) -> None:
    stand, _ = await opened(ANSWER)
    calls = calls_of(stand)
    await calls.ask(CHAT, dict(ASKED))
    await calls.settled()
    record = calls.ended[0].record
    assert (record.recipe, record.part_of, record.outcome) == ("answer", "req-outer", "completed")
    assert (record.prompt_tokens, record.output_tokens) == (40, 6)
    found = stand.gateway.app.recent.find("req-outer")
    assert found is not None
    assert found["request_id"] == record.request_id


async def test_usage_is_counted_for_the_tenant(opened: Open) -> None:
    stand, _ = await opened(ANSWER)
    calls = calls_of(stand, Tenant("acme"))
    await asyncio.gather(*(calls.ask(CHAT, dict(ASKED)) for _ in range(3)))
    ((_, tenant, model), counts), *others = stand.gateway.app.tally.take()
    assert not others
    assert (tenant, model, counts.requests, counts.prompt_tokens) == ("acme", MODEL, 3, 120)


async def test_the_engines_refusal_is_raised_with_its_words(opened: Open) -> None:
    stand, _ = await opened(
        unary(b'{"error":{"message":"too long","param":"messages","code":400}}', b"400 Bad Request")
    )
    with pytest.raises(GatewayError) as raised:
        await calls_of(stand).ask(CHAT, dict(ASKED))
    assert (raised.value.status, raised.value.message, raised.value.param) == (400, "too long", "messages")


async def test_an_engine_that_is_gone_is_a_503(opened: Open) -> None:
    stand, _ = await opened(hang_up)
    with pytest.raises(GatewayError) as raised:
        await calls_of(stand).ask(CHAT, dict(ASKED))
    assert raised.value.status == 503


async def test_a_model_that_the_tenant_may_not_use_is_404(opened: Open) -> None:
    stand, engine = await opened(ANSWER)
    with pytest.raises(GatewayError) as raised:
        await calls_of(stand, Tenant("acme", models=frozenset({"other"}))).ask(CHAT, dict(ASKED))
    assert raised.value.status == 404
    assert not engine.exchanges


async def test_when_the_client_leaves_the_engine_stops(opened: Open) -> None:
    stand, engine = await opened(never_answer)
    calls = calls_of(stand)
    asking = asyncio.gather(*(calls.ask(CHAT, dict(ASKED)) for _ in range(2)), return_exceptions=True)
    await until(lambda: len(engine.exchanges) == 2)
    calls.leave()
    assert [error.status for error in await asking if isinstance(error, GatewayError)] == [499, 499]
    for exchange in engine.exchanges:
        await asyncio.wait_for(exchange.gone.wait(), 5)
    with pytest.raises(GatewayError):
        await calls.ask(CHAT, dict(ASKED))
    await stand.settled()


async def test_whoever_cancels_a_call_stops_the_engine(opened: Open) -> None:
    stand, engine = await opened(never_answer)
    asking = asyncio.create_task(calls_of(stand).ask(CHAT, dict(ASKED)))
    await until(lambda: len(engine.exchanges) == 1)
    asking.cancel()
    await asyncio.wait_for(engine.exchanges[0].gone.wait(), 5)
    await stand.settled()


class CountingEngines:
    """Answers each call after a moment, and knows how many it had at once."""

    def __init__(self) -> None:
        self.running = self.most = 0

    def ask_engine(
        self, request: ClientRequest, document: dict[str, Any], tenant: Tenant, recipient: Recipient, origin: Origin
    ) -> tuple[RequestRecord, asyncio.Task[None]]:
        return RequestRecord("req-1", "g", "/"), asyncio.create_task(self._answer(recipient))

    async def _answer(self, recipient: Recipient) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.001)
        self.running -= 1
        recipient.send(200, [], b"{}")


@pytest.mark.parametrize(("limit", "expected"), [(None, 32), (2, 2), (100, 32)])
async def test_as_many_run_at_once_as_the_tenant_may_have_requests(limit: int | None, expected: int) -> None:
    engines, tenant = CountingEngines(), Tenant("acme", Limits(concurrent_requests=limit))
    calls = InnerCalls(engines, OUTER, tenant, Origin("req-outer", "answer"))
    await asyncio.gather(*(calls.ask(CHAT, dict(ASKED)) for _ in range(40)))
    assert engines.most == expected
    assert len(calls.ended) == 40


class LearningEngines(CountingEngines):
    """Whose answers are learned from, which takes until `learned`."""

    def __init__(self) -> None:
        super().__init__()
        self.learned = asyncio.Event()

    async def _answer(self, recipient: Recipient) -> None:
        recipient.send(200, [], b'{"usage": {"prompt_tokens": 40, "completion_tokens": 6}}')
        await self.learned.wait()


async def test_an_answer_waits_for_nothing_that_is_learned_of_it() -> None:
    engines = LearningEngines()
    calls = InnerCalls(engines, OUTER, Tenant("acme"), Origin("req-outer", "answer"))
    await calls.ask(CHAT, dict(ASKED))
    (call,) = calls.ended
    assert not call.task.done()
    assert usage(calls.ended)["total_tokens"] == 46
    settled = asyncio.create_task(calls.settled())
    await asyncio.sleep(0)
    assert not settled.done()
    engines.learned.set()
    await settled
    assert call.task.done()


async def test_what_an_answer_does_not_say_is_in_its_record(opened: Open) -> None:
    """Whoever is told of the record waits until it is filled."""
    stand, _ = await opened(unary(b'{"choices": []}'))
    calls = calls_of(stand)
    await calls.ask(CHAT, dict(ASKED))
    (call,) = calls.ended
    assert call.usage is None
    await calls.settled()
    assert usage(calls.ended)["prompt_tokens"] == call.record.prompt_tokens


async def test_tenants_do_not_share_what_engines_have_cached(opened: Open) -> None:
    stand, engine = await opened(ANSWER)
    stand.gateway.app.door._keyring = keyring_of({})
    await calls_of(stand, Tenant("acme")).ask(CHAT, dict(ASKED))
    await calls_of(stand, Tenant("zebra")).ask(CHAT, dict(ASKED))
    salts = {orjson.loads(exchange.body)["cache_salt"] for exchange in engine.exchanges}
    assert len(salts) == 2
