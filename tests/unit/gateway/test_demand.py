"""What the autoscaler is told of requests: all that came, what became of them, and who waits."""

import asyncio
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.autoscaler.capacity import Shape, Speed
from cluster.autoscaler.demand import SAMPLED_AT_MOST, Demand
from deployments.gateway.catalogue import Scaling, Wake
from deployments.gateway.demand_reporter import DemandReporter
from deployments.gateway.routing.attainment import kept
from deployments.gateway.routing.score import Slo
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.untold_demand import carried_on
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import MODEL, STREAMING, OpenStand, Stand, post, until
from tests.unit.gateway.scripted_engine import (
    EVENT_STREAM,
    Exchange,
    Script,
    hang_up,
    never_answer,
    stream,
    stream_then_die,
    unary,
)

TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
USAGE = (
    b'data: {"choices":[],"usage":{"prompt_tokens":900,"completion_tokens":3,'
    b'"prompt_tokens_details":{"cached_tokens":640}},"metrics":{"time_to_first_token_ms":40.0}}\n\n'
)
DONE = b"data: [DONE]\n\n"
WHOLE = USAGE[6:-2]
STREAM = stream(TOKEN, TOKEN, TOKEN, USAGE, DONE)


def demand(gateway: Stand) -> Demand:
    return gateway.gateway.app.demand(0)[MODEL]


def counts(seen: Demand) -> tuple[int, int, int]:
    return seen.arrived_requests, seen.finished_requests, seen.met_requests


@pytest.mark.parametrize(("script", "body"), [(STREAM, STREAMING), (unary(WHOLE), None)])
async def test_an_answer_in_time_is_finished_and_met_and_told_once(
    start_engine: StartEngine, open_stand: OpenStand, script: Script, body: Any
) -> None:
    gateway = await open_stand(await start_engine(script))
    for _ in range(3):
        assert (await gateway.ask(post(body=body))).status == 200
    await gateway.settled()
    seen = demand(gateway)
    assert counts(seen) == (3, 3, 3)
    assert seen.sampled == ((900, 640, 3),) * 3
    assert seen.shape.prefill_ms > 0
    assert counts(demand(gateway)) == (0, 0, 0)


async def test_a_first_token_after_the_slo_is_a_miss(start_engine: StartEngine, open_stand: OpenStand) -> None:
    async def late(exchange: Exchange) -> None:
        await asyncio.sleep(0.06)
        await STREAM(exchange)

    gateway = await open_stand(await start_engine(late))
    for slo, met in ((Slo(ttft_ms=5_000, tpot_ms=1_000), 1), (Slo(ttft_ms=50, tpot_ms=1_000), 0)):
        gateway.know(slo=slo)
        await gateway.ask(post(body=STREAMING))
        await gateway.settled()
        assert counts(demand(gateway)) == (1, 1, met)


async def test_tokens_slower_than_the_slo_are_a_miss(start_engine: StartEngine, open_stand: OpenStand) -> None:
    async def slow(exchange: Exchange) -> None:
        exchange.writer.write(EVENT_STREAM)
        for event in (TOKEN, TOKEN, TOKEN, USAGE, DONE):
            exchange.chunk(event)
            await asyncio.sleep(0.03)
        exchange.writer.write(b"0\r\n\r\n")

    gateway = await open_stand(await start_engine(slow))
    for tpot_ms, met in ((1_000, 1), (40, 0)):
        gateway.know(slo=Slo(ttft_ms=5_000, tpot_ms=tpot_ms))
        await gateway.ask(post(body=STREAMING))
        await gateway.settled()
        assert counts(demand(gateway)) == (1, 1, met)


async def test_what_an_engine_says_of_its_first_token_counts_from_dispatch(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await open_stand(await start_engine(unary(WHOLE)))
    for ttft_ms, met in ((39, 0), (1_000, 1)):
        gateway.know(slo=Slo(ttft_ms=ttft_ms, tpot_ms=1_000))
        await gateway.ask(post())
        await gateway.settled()
        assert counts(demand(gateway)) == (1, 1, met)


@pytest.mark.parametrize(("script", "body"), [(STREAM, STREAMING), (unary(WHOLE), None)])
async def test_waiting_for_a_replica_is_part_of_the_time_to_first_token(
    start_engine: StartEngine, open_stand: OpenStand, script: Script, body: Any
) -> None:
    gateway = await open_stand()
    gateway.know(wake=Wake(60, 4), scaling=Scaling(cold_start_s=10), slo=Slo(ttft_ms=200, tpot_ms=1_000))
    client = await gateway.client()
    client.send(post(body=body))
    await until(lambda: gateway.waiting() == 1)
    seen = demand(gateway)
    assert (counts(seen), seen.waiting_requests) == ((1, 0, 0), 1)
    assert seen.waiting_ms > 0
    await asyncio.sleep(0.25)
    gateway.have(await start_engine(script))
    assert (await client.answer()).status == 200
    await gateway.settled()
    seen = demand(gateway)
    assert (counts(seen), seen.waiting_requests) == ((0, 1, 0), 0)


@pytest.mark.parametrize(
    ("script", "body", "settings"),
    [
        (unary(b"{}", b"500 Oh"), None, GatewaySettings()),
        (unary(b"{}", b"503 Full"), None, GatewaySettings()),
        (stream_then_die(TOKEN), STREAMING, GatewaySettings()),
        (never_answer, STREAMING, GatewaySettings(first_token_timeout_s=0.05)),
        (hang_up, None, GatewaySettings()),
    ],
    ids=["500", "503", "broken", "504", "unavailable"],
)
async def test_what_failed_is_finished_and_a_miss(
    start_engine: StartEngine, open_stand: OpenStand, script: Script, body: Any, settings: GatewaySettings
) -> None:
    gateway = await open_stand(await start_engine(script), settings=settings)
    await gateway.ask(post(body=body))
    await gateway.settled()
    assert counts(demand(gateway)) == (1, 1, 0)


async def test_what_is_refused_for_want_of_room_or_replicas_was_asked_for_all_the_same(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await open_stand(settings=GatewaySettings(queue_max_waiting=0))
    assert (await gateway.ask(post())).status == 503
    engine = await start_engine(never_answer)
    gateway.have(engine, max_in_flight=1)
    (await gateway.client()).send(post())
    await until(lambda: len(engine.exchanges) == 1)
    assert (await gateway.ask(post())).error["code"] == "at_capacity"
    seen = demand(gateway)
    assert counts(seen) == (3, 2, 0)
    assert seen.in_flight == {"r0": 1}


async def test_a_request_that_a_second_replica_answers_is_one_request(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    dying, healthy = await start_engine(hang_up), await start_engine(STREAM)
    gateway = await open_stand(dying, healthy)
    asked = 0
    while not dying.exchanges:
        await gateway.ask(post(body=STREAMING))
        asked += 1
    await gateway.settled()
    assert counts(demand(gateway)) == (asked, asked, asked)


@pytest.mark.parametrize("raw", [post(body=b"{"), post(body={"model": "other"}), post("/nowhere")])
async def test_what_names_no_model_of_ours_is_nobodys_demand(open_stand: OpenStand, raw: bytes) -> None:
    gateway = await open_stand()
    await gateway.ask(raw)
    assert counts(demand(gateway)) == (0, 0, 0)


async def test_a_clients_own_mistake_and_a_client_that_leaves_say_nothing_of_the_slo(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    engine = await start_engine(unary(b'{"error":{}}', b"400 Bad Request"))
    gateway = await open_stand(engine)
    await gateway.ask(post())
    engine.script = never_answer
    client = await gateway.client()
    client.send(post(body=STREAMING))
    await until(lambda: len(engine.exchanges) == 2)
    client.leave()
    await gateway.settled()
    assert counts(demand(gateway)) == (2, 0, 0)


async def test_a_client_that_leaves_the_line_says_nothing_of_the_slo(open_stand: OpenStand) -> None:
    gateway = await open_stand()
    gateway.know(wake=Wake(60, 4), scaling=Scaling(cold_start_s=10))
    client = await gateway.client()
    client.send(post())
    await until(lambda: gateway.waiting() == 1)
    client.leave()
    await gateway.settled()
    assert counts(demand(gateway)) == (1, 0, 0)


SLO = Slo(ttft_ms=100, tpot_ms=10)


@pytest.mark.parametrize(
    ("ttft_ms", "e2e_ms", "output_tokens", "met"),
    [
        (100, 190, 10, True),
        (100, 191, 10, False),
        (101, 101, 10, False),
        (10, 5_000, 1, True),
        (10, 5_000, None, True),
        (None, 190, 10, True),
        (None, 191, 10, False),
        (None, 101, None, False),
        (None, 100, 0, True),
    ],
)
def test_the_slo_is_the_first_tokens_time_and_the_mean_of_the_later_ones(
    ttft_ms: float | None, e2e_ms: float, output_tokens: int | None, met: bool
) -> None:
    assert kept(SLO, ttft_ms, e2e_ms, output_tokens) is met


async def test_state_is_told_at_once_that_somebody_waits(open_stand: OpenStand) -> None:
    gateway = await open_stand()
    gateway.know(wake=Wake(60, 4), scaling=Scaling(cold_start_s=10))
    told: list[dict[str, Demand]] = []

    async def tell(gateway_id: str, demands: dict[str, Demand]) -> None:
        assert gateway_id == gateway.gateway.app.routers.gateway_id
        told.append(demands)

    reporting = asyncio.create_task(DemandReporter(gateway.gateway.app, tell, period_s=4).run())
    await until(lambda: len(told) == 1)
    for _ in range(2):
        (await gateway.client()).send(post())
    await until(lambda: gateway.waiting() == 2)
    began_s = time.monotonic()
    await until(lambda: len(told) == 2)
    assert time.monotonic() - began_s < 1
    assert told[1][MODEL].waiting_requests == 2
    await asyncio.sleep(1)
    assert len(told) == 2
    reporting.cancel()


async def test_a_flood_of_refusals_is_not_a_flood_of_reports(open_stand: OpenStand) -> None:
    gateway = await open_stand()
    gateway.know(wake=Wake(60, 4), scaling=Scaling(cold_start_s=100))
    told: list[Demand] = []

    async def tell(gateway_id: str, demands: dict[str, Demand]) -> None:
        told.append(demands[MODEL])

    reporting = asyncio.create_task(DemandReporter(gateway.gateway.app, tell, period_s=2).run())
    for _ in range(100):
        assert (await gateway.ask(post())).status == 503
    await until(lambda: sum(seen.arrived_requests for seen in told) == 100)
    reporting.cancel()
    assert all(seen.waiting_requests == 1 for seen in told if seen.arrived_requests)
    assert len(told) < 10


async def test_state_away_is_told_everything_once_when_it_is_back(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await open_stand(await start_engine(STREAM))
    told: list[Demand] = []
    calls = 0

    async def tell(gateway_id: str, demands: dict[str, Demand]) -> None:
        nonlocal calls
        calls += 1
        if calls % 4:
            raise ConnectionError("away")
        told.append(demands[MODEL])

    reporting = asyncio.create_task(DemandReporter(gateway.gateway.app, tell, period_s=0.003).run())
    for _ in range(20):
        await gateway.ask(post(body=STREAMING))
        await asyncio.sleep(0.002)
    await until(lambda: sum(seen.finished_requests for seen in told) == 20)
    heard = len(told)
    await until(lambda: len(told) > heard + 1)
    reporting.cancel()
    assert sum(seen.arrived_requests for seen in told) == 20
    assert sum(seen.met_requests for seen in told) == 20
    assert sum(len(seen.sampled) for seen in told) == 20
    assert all(sum(seen.in_flight.values()) <= 1 for seen in told)


def of_now(arrived: int, waiting: int, sampled: int) -> Demand:
    shape, speed = Shape(arrived, 1, 1, 1), Speed(1, 1, 1)
    lengths = ((1, 1, 1),) * sampled
    return Demand(arrived, arrived, arrived // 2, waiting, 10.0 * waiting, shape, speed, 3.0, {"r0": waiting}, lengths)


reports = st.lists(
    st.dictionaries(st.sampled_from("ab"), st.builds(of_now, st.integers(0, 9), st.integers(0, 5), st.integers(0, 16))),
    min_size=1,
    max_size=40,
)


@given(reports)
def test_reports_that_wait_to_be_told_lose_nothing_and_do_not_grow(taken: list[dict[str, Demand]]) -> None:
    untold: dict[str, Demand] = {}
    for now in taken:
        untold = carried_on(untold, now)
    assert untold.keys() == taken[-1].keys()
    for model, seen in untold.items():
        last_without = max((at for at, now in enumerate(taken) if model not in now), default=-1)
        of_model = [now[model] for now in taken[last_without + 1 :]]
        assert seen.arrived_requests == sum(now.arrived_requests for now in of_model)
        assert seen.met_requests == sum(now.met_requests for now in of_model)
        assert len(seen.sampled) == min(SAMPLED_AT_MOST, sum(len(now.sampled) for now in of_model))
        assert (seen.in_flight, seen.waiting_ms, seen.shape) == (
            of_model[-1].in_flight,
            of_model[-1].waiting_ms,
            of_model[-1].shape,
        )
        assert bool(seen.waiting_requests) == any(now.waiting_requests for now in of_model)
