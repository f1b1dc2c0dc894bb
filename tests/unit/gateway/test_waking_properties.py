"""Whoever comes and goes while a model sleeps and wakes: who stays is answered, and nothing is left behind."""

import asyncio

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.gateway.catalogue import Scaling, Wake
from deployments.gateway.settings import GatewaySettings
from tests.unit.gateway.harness import MODEL, Client, Stand, post, stand, until
from tests.unit.gateway.scripted_engine import Exchange, ScriptedEngine, stream, unary

MAX_WAITING = 5
TALKATIVE = GatewaySettings(first_word_s=0.005, word_period_s=0.005)
EVENT = b"data: 1\n\n"

steps = st.lists(
    st.sampled_from(["whole", "stream", "leave first", "leave last", "wake", "sleep", "drain"]), max_size=14
)


async def answer(exchange: Exchange) -> None:
    await asyncio.sleep(0.002)
    await (stream(EVENT) if orjson.loads(exchange.body)["stream"] else unary(b"{}"))(exchange)


async def plays(gateway: Stand, engine: ScriptedEngine, steps: list[str], capacity: int) -> None:
    staying: list[tuple[Client, bool]] = []
    for step in steps:
        match step:
            case "whole" | "stream":
                client = await gateway.client()
                client.send(post(body={"model": MODEL, "stream": step == "stream", "seed": len(staying)}))
                staying.append((client, step == "stream"))
            case "leave first" | "leave last" if staying:
                staying.pop(0 if step == "leave first" else -1)[0].leave()
            case "wake":
                gateway.have(engine, max_in_flight=capacity)
            case "sleep":
                gateway.have()
            case "drain":
                gateway.have(engine, leaving=[0], max_in_flight=capacity)
        await asyncio.sleep(0.004)
        assert gateway.waiting() <= MAX_WAITING
    gateway.have(engine, max_in_flight=capacity)
    for client, streams in staying:
        seen = await client.answer()
        assert seen.status in (200, 503)
        if seen.status == 503:
            assert seen.error["code"] == "at_capacity"
        else:
            assert seen.whole
            assert seen.body.endswith(EVENT) if streams else seen.body == b"{}"
    await gateway.settled()
    await until(lambda: gateway.waiting() == 0)
    demand = gateway.gateway.app.demand(0)[MODEL]
    asked = sum(step in ("whole", "stream") for step in steps)
    assert demand.arrived_requests == asked
    assert len(staying) <= demand.finished_requests <= asked
    assert not demand.in_flight


async def play(steps: list[str], capacity: int) -> None:
    engine = ScriptedEngine(answer)
    await engine.start()
    try:
        async with stand((), capacity, TALKATIVE) as gateway:
            gateway.know(wake=Wake(max_wait_s=60, max_waiting=MAX_WAITING), scaling=Scaling(cold_start_s=5))
            await plays(gateway, engine, steps, capacity)
    finally:
        await engine.stop()


@settings(max_examples=40, deadline=None)
@given(steps, st.integers(1, 3))
def test_who_stays_is_answered_and_nothing_is_left_behind(steps: list[str], capacity: int) -> None:
    asyncio.run(play(steps, capacity))
