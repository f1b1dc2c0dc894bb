"""All replicas are busy: who waits, who goes next, who is sent away, and with what words."""

import asyncio
from typing import Any

import orjson
import pytest

from deployments.gateway import app as gateway_app
from deployments.gateway.inference import Inference
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.tenants.tenant import Tenant
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import MODEL, Client, OpenStand, Stand, post, until
from tests.unit.gateway.scripted_engine import Exchange, ScriptedEngine, unary

PRIORITIES = {"high": 1}


@pytest.fixture(autouse=True)
def tenants_by_header(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenant for each name in `x-tenant`, as a key would give it."""

    def told_apart(backends: Any, card: Any, asked: Any, _anyone: Tenant, request: Any, *rest: Any) -> Inference:
        name = request.headers.get(b"x-tenant", b"t").decode()
        return Inference(backends, card, asked, Tenant(name, priority=PRIORITIES.get(name, 0)), request, *rest)

    monkeypatch.setattr(gateway_app, "Inference", told_apart)


def ask_of(tenant: str, text: str = "Hi", **more: Any) -> bytes:
    body = {"model": MODEL, "messages": [{"role": "user", "content": text}], **more}
    return post(body=body, headers=f"x-tenant: {tenant}\r\n")


async def sent(gateway: Stand, raw: bytes) -> Client:
    """A client whose request waits."""
    before = gateway.waiting()
    client = await gateway.client()
    client.send(raw)
    await until(lambda: gateway.waiting() == before + 1)
    return client


class Turnstile:
    """A script for `engine`, which answers a request when told to."""

    engine: ScriptedEngine

    def __init__(self) -> None:
        self.came: list[str] = []
        self._open: list[asyncio.Event] = []

    async def script(self, exchange: Exchange) -> None:
        self.came.append(orjson.loads(exchange.body)["messages"][0]["content"])
        self._open.append(asyncio.Event())
        await self._open[-1].wait()
        await unary(b"{}")(exchange)

    async def let_next(self) -> None:
        """Answer the newest, and wait for the one after it."""
        count = len(self.came)
        self._open[-1].set()
        await until(lambda: len(self.came) > count)


async def busy(start_engine: StartEngine, open_stand: OpenStand, **settings: Any) -> tuple[Stand, Turnstile]:
    """One replica that holds one request, and has it."""
    turnstile = Turnstile()
    turnstile.engine = await start_engine(turnstile.script)
    gateway = await open_stand(turnstile.engine, max_in_flight=1, settings=GatewaySettings(**settings))
    (await gateway.client()).send(ask_of("flood", "first"))
    await until(lambda: turnstile.came == ["first"])
    return gateway, turnstile


async def test_a_light_tenant_goes_before_the_flood_that_came_earlier(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway, turnstile = await busy(start_engine, open_stand)
    for number in range(4):
        await sent(gateway, ask_of("flood", f"flood {number}"))
    for number in range(2):
        await sent(gateway, ask_of("light", f"light {number}"))
    for _ in range(6):
        await turnstile.let_next()
    assert turnstile.came.index("light 0") == 1
    assert turnstile.came.index("light 1") <= 3
    assert [text for text in turnstile.came if text.startswith("flood")] == [f"flood {number}" for number in range(4)]


async def test_a_higher_priority_goes_first(start_engine: StartEngine, open_stand: OpenStand) -> None:
    gateway, turnstile = await busy(start_engine, open_stand)
    await sent(gateway, ask_of("low", "low"))
    for number in range(2):
        await sent(gateway, ask_of("high", f"high {number}"))
    for _ in range(3):
        await turnstile.let_next()
    assert turnstile.came == ["first", "high 0", "high 1", "low"]


async def test_the_replica_is_chosen_when_there_is_room_and_not_on_arrival(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway, turnstile = await busy(start_engine, open_stand)
    client = await sent(gateway, ask_of("t"))
    gateway.have(turnstile.engine, await start_engine(unary(b"{}")), max_in_flight=1)
    assert (await client.answer()).headers["x-baryon-replica"] == "r1"
    assert turnstile.came == ["first"]


async def test_who_waited_in_vain_is_told_when_to_come_again(start_engine: StartEngine, open_stand: OpenStand) -> None:
    gateway, _ = await busy(start_engine, open_stand, queue_max_wait_s=0.1)
    answer = await (await sent(gateway, ask_of("t"))).answer()
    assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "at_capacity", "1")
    assert gateway.waiting() == 0


async def test_a_full_queue_sends_the_floods_last_away_for_a_light_tenant(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway, turnstile = await busy(start_engine, open_stand, queue_max_waiting=3)
    flood = [await sent(gateway, ask_of("flood", f"flood {number}")) for number in range(3)]
    refused = await gateway.ask(ask_of("flood"))
    assert (refused.status, refused.error["code"]) == (503, "at_capacity")
    light = await gateway.client()
    light.send(ask_of("light", "light"))
    gone = await flood[-1].answer()
    assert (gone.status, gone.error["code"]) == (503, "at_capacity")
    assert int(gone.headers["retry-after"]) >= 1
    assert gateway.waiting() == 3
    await turnstile.let_next()
    assert turnstile.came == ["first", "light"]


async def test_who_would_wait_longer_than_it_may_is_told_at_once_how_long(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway, _ = await busy(start_engine, open_stand, queue_max_wait_s=5)
    queue = gateway.gateway.app.room.queue(MODEL)
    await sent(gateway, ask_of("flood", "x" * 4_000))
    began_s = asyncio.get_running_loop().time()
    queue.drain.began(began_s - 10)
    queue.drain.let_in(100.0, began_s)
    answer = await gateway.ask(ask_of("flood"))
    assert (answer.status, answer.error["code"]) == (503, "at_capacity")
    assert int(answer.headers["retry-after"]) > 5
    assert f"wait about {answer.headers['retry-after']} s" in answer.error["message"]


async def test_what_waits_is_told_to_the_autoscaler_once(start_engine: StartEngine, open_stand: OpenStand) -> None:
    gateway, _ = await busy(start_engine, open_stand)
    alone = gateway.gateway.app.demand(0)[MODEL]
    for _ in range(3):
        await sent(gateway, ask_of("flood"))
    demand = gateway.gateway.app.demand(0)[MODEL]
    assert (alone.waiting_requests, demand.waiting_requests) == (0, 3)
    assert (alone.in_flight, demand.in_flight) == ({"r0": 1}, {"r0": 1})
    assert (alone.arrived_requests, demand.arrived_requests) == (1, 3)
    assert demand.waiting_ms > alone.waiting_ms


async def test_a_client_that_leaves_the_queue_lets_the_next_one_go(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway, turnstile = await busy(start_engine, open_stand)
    leaving = await sent(gateway, ask_of("t", "leaving"))
    await sent(gateway, ask_of("t", "staying"))
    leaving.leave()
    await until(lambda: gateway.waiting() == 1)
    await turnstile.let_next()
    assert turnstile.came == ["first", "staying"]


async def test_what_a_request_took_is_what_its_tenant_is_charged(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    usage = b'{"usage":{"prompt_tokens":900,"completion_tokens":20,"prompt_tokens_details":{"cached_tokens":640}}}'
    gateway = await open_stand(await start_engine(unary(usage)))
    assert (await gateway.ask(ask_of("t"))).status == 200
    await gateway.settled()
    (of_priority,) = gateway.gateway.app.room.queue(MODEL)._classes.values()
    assert of_priority.counters.of("t") == pytest.approx(900 - 640 + 2 * 20)


async def test_a_request_that_no_replica_began_costs_its_tenant_nothing(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    async def hang_up(exchange: Exchange) -> None:
        exchange.writer.transport.abort()

    gateway = await open_stand(await start_engine(hang_up))
    assert (await gateway.ask(ask_of("t"))).status == 503
    (of_priority,) = gateway.gateway.app.room.queue(MODEL)._classes.values()
    assert of_priority.counters.of("t") == pytest.approx(0.0)
