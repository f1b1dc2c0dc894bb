"""A tenant's limits as its client meets them: several gateways, one state, real connections."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from deployments.gateway.inference import Inference
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.tenants import borrower
from deployments.gateway.tenants.bins import Moment
from deployments.gateway.tenants.lease import Reply, Report
from deployments.gateway.tenants.refusals import duration
from deployments.gateway.tenants.spending import system_moment
from deployments.gateway.tenants.tenant import Limits, Tenant
from deployments.lender import LISTENS_S, Lender
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import MODEL, STREAMING, Answer, Stand, post, stand, until
from tests.unit.gateway.scripted_engine import Exchange, ScriptedEngine, never_answer, stream, stream_then_stall, unary

TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":40,"completion_tokens":60}}\n\n'
WHOLE = unary(USAGE[6:-2])
SO_FAR = (
    b'data: {"choices":[{"index":0,"delta":{"content":"a"}}],"usage":{"prompt_tokens":8,"completion_tokens":%d}}\n\n'
)
STREAM = stream(TOKEN, TOKEN, USAGE, b"data: [DONE]\n\n")


@dataclass
class Cluster:
    """Gateways that borrow from one state, which can be away."""

    lender: Lender
    gateways: list[Stand] = field(default_factory=list)
    is_away: bool = False
    reports: int = 0

    async def lend(self, report: Report) -> Reply:
        self.reports += 1
        if self.is_away:
            raise ConnectionError("away")
        await asyncio.sleep(0.001)
        return self.lender.exchange(report, system_moment())

    async def ask(self, number: int = 0, raw: bytes | None = None) -> Answer:
        return await self.gateways[number].ask(raw or post())


OpenCluster = Callable[..., Awaitable[Cluster]]


@pytest.fixture
async def open_cluster(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OpenCluster]:
    """Every request is of a tenant with these limits."""
    async with AsyncExitStack() as stack:

        async def start(engine: ScriptedEngine, limits: Limits, gateways: int = 4) -> Cluster:
            use(monkeypatch, limits)
            now = system_moment()
            cluster = Cluster(Lender("epoch", Moment(now.now_s - LISTENS_S, now.day), lambda day, key: {}))
            for _ in range(gateways):
                opened = await stack.enter_async_context(stand((engine,), 1000, GatewaySettings()))
                borrowing = asyncio.create_task(borrower.Borrower(opened.gateway.app.spending, cluster.lend).run())
                stack.callback(borrowing.cancel)
                cluster.gateways.append(opened)
            return cluster

        yield start


def use(monkeypatch: pytest.MonkeyPatch, limits: Limits) -> None:
    tenant = Tenant("acme", limits)

    def of_tenant(backends: Any, card: Any, asked: Any, _: Tenant, *others: Any) -> Inference:
        return Inference(backends, card, asked, tenant, *others)

    monkeypatch.setattr("deployments.gateway.app.Inference", of_tenant)


async def test_a_minutes_requests_are_let_in_over_all_gateways_and_no_more(
    start_engine: StartEngine, open_cluster: OpenCluster
) -> None:
    cluster = await open_cluster(await start_engine(WHOLE), Limits(requests_per_minute=20))
    answers = await asyncio.gather(*(cluster.ask(number % 4 if number < 20 else 0) for number in range(40)))
    statuses = [answer.status for answer in answers]
    assert (statuses.count(200), statuses.count(429)) == (20, 20)
    refused = next(answer for answer in answers if answer.status == 429)
    assert 1 <= int(refused.headers["retry-after"]) <= 61
    assert refused.error["code"] == "rate_limit_exceeded"
    assert "20 requests per minute" in refused.error["message"]
    assert refused.headers["x-ratelimit-limit-requests"] == "20"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.headers["x-ratelimit-reset-requests"].endswith("s")


async def test_a_client_sees_what_is_left(start_engine: StartEngine, open_cluster: OpenCluster) -> None:
    engine = await start_engine(WHOLE)
    cluster = await open_cluster(engine, Limits(requests_per_minute=100, tokens_per_minute=10_000), gateways=1)
    seen = [(await cluster.ask()).headers for _ in range(3)]
    assert [headers["x-ratelimit-remaining-requests"] for headers in seen] == ["99", "98", "97"]
    assert [headers["x-ratelimit-limit-tokens"] for headers in seen] == ["10000"] * 3
    assert 9_000 < int(seen[-1]["x-ratelimit-remaining-tokens"]) < 10_000


@pytest.mark.parametrize(("script", "raw"), [(WHOLE, post()), (STREAM, post(body=STREAMING))])
async def test_what_was_expected_gives_way_to_what_the_engine_says(
    start_engine: StartEngine, open_cluster: OpenCluster, script: Callable[[Exchange], Awaitable[None]], raw: bytes
) -> None:
    cluster = await open_cluster(await start_engine(script), Limits(tokens_per_minute=10_000, tokens_per_day=100_000))
    for number in range(8):
        assert (await cluster.ask(number % 4, raw)).status == 200
    key = ("acme", MODEL)
    await until(lambda: cluster.lender.spent_today(key, system_moment()) == 800)


async def test_a_stream_whose_client_left_costs_what_was_delivered(
    start_engine: StartEngine, open_cluster: OpenCluster
) -> None:
    engine = await start_engine(stream_then_stall(*[SO_FAR % number for number in range(1, 6)]))
    cluster = await open_cluster(engine, Limits(tokens_per_day=100_000))
    client = await cluster.gateways[0].client()
    client.send(post(body={**STREAMING, "max_tokens": 5_000}))
    await client.head()
    while TOKEN not in await client.chunk():
        pass
    await until(lambda: cluster.lender.spent_today(("acme", MODEL), system_moment()) > 100)
    client.leave()
    await until(lambda: cluster.lender.spent_today(("acme", MODEL), system_moment()) == 8 + 5)


async def test_what_is_refused_does_not_count_as_asked_where_tenants_share_replicas(
    start_engine: StartEngine, open_cluster: OpenCluster
) -> None:
    cluster = await open_cluster(await start_engine(WHOLE), Limits(requests_per_minute=2), gateways=1)
    shares = cluster.gateways[0].gateway.app.room.queue(MODEL).shares
    assert [(await cluster.ask()).status for _ in range(2)] == [200, 200]
    let_in = shares.of("acme")
    assert (await cluster.ask()).status == 429
    assert shares.of("acme") == let_in > 0


async def test_concurrent_requests_over_all_gateways_and_slots_that_return_whatever_way(
    start_engine: StartEngine, open_cluster: OpenCluster
) -> None:
    engine = await start_engine(never_answer)
    cluster = await open_cluster(engine, Limits(concurrent_requests=6))
    clients = [await cluster.gateways[number % 4].client() for number in range(6)]
    for client in clients:
        client.send(post())
    await until(lambda: len(engine.exchanges) == 6)
    for number in range(4):
        refused = await cluster.ask(number)
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert "6 requests at a time" in refused.error["message"]
    for client in clients[:3]:
        client.leave()
    engine.script = WHOLE
    async with asyncio.timeout(5):
        while (await cluster.ask(3)).status != 200:
            await asyncio.sleep(0.05)
    engine.script = unary(b"{}", b"500 Oh")
    statuses = [(await cluster.ask(3)).status for _ in range(30)]
    assert set(statuses) == {500}


async def test_a_limit_of_zero_is_no_matter_of_time(start_engine: StartEngine, open_cluster: OpenCluster) -> None:
    cluster = await open_cluster(await start_engine(WHOLE), Limits(requests_per_minute=0), gateways=1)
    answer = await cluster.ask()
    assert (answer.status, answer.error["code"]) == (403, "limit_is_zero")
    assert "retry-after" not in answer.headers


async def test_a_prompt_beyond_the_whole_limit_is_told_so_once(
    start_engine: StartEngine, open_cluster: OpenCluster
) -> None:
    cluster = await open_cluster(await start_engine(WHOLE), Limits(tokens_per_minute=100), gateways=1)
    raw = post(body={"model": MODEL, "messages": [{"role": "user", "content": "many words " * 200}]})
    answer = await cluster.ask(0, raw)
    assert (answer.status, answer.error["code"]) == (400, "request_exceeds_limit")
    assert "100 tokens per minute" in answer.error["message"]
    assert "retry-after" not in answer.headers
    assert (await cluster.ask()).status == 200


def test_negative_limits_are_refused() -> None:
    with pytest.raises(ValueError, match="tokens_per_day must not be negative"):
        Limits(tokens_per_day=-1)


async def test_a_changed_limit_holds_from_the_next_request(
    start_engine: StartEngine, open_cluster: OpenCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = await open_cluster(await start_engine(WHOLE), Limits(requests_per_minute=3))
    assert [(await cluster.ask(number)).status for number in range(4)] == [200, 200, 200, 429]
    use(monkeypatch, Limits(requests_per_minute=5))
    await asyncio.sleep(0.3)
    assert [(await cluster.ask(number)).status for number in range(3)] == [200, 200, 429]


async def test_while_state_is_away_each_gateway_goes_on_with_its_part(
    start_engine: StartEngine, open_cluster: OpenCluster
) -> None:
    cluster = await open_cluster(await start_engine(WHOLE), Limits(requests_per_minute=40))
    for number in range(4):
        assert (await cluster.ask(number)).status == 200
    await asyncio.sleep(1.3)
    cluster.is_away = True
    statuses = [(await cluster.ask(0)).status for _ in range(40)]
    rest = [(await cluster.ask(1 + number % 3)).status for number in range(60)]
    assert 8 <= statuses.count(200) <= 11
    assert 32 <= statuses.count(200) + rest.count(200) <= 36
    assert set(statuses + rest) == {200, 429}
    cluster.is_away = False
    await asyncio.sleep(0.6)
    again = [(await cluster.ask(0)).status for _ in range(10)]
    assert statuses.count(200) + rest.count(200) + again.count(200) <= 40


async def test_state_that_was_never_heard_is_no_reason_to_let_in_or_to_blame_the_tenant(
    start_engine: StartEngine, open_cluster: OpenCluster
) -> None:
    cluster = await open_cluster(await start_engine(WHOLE), Limits(requests_per_minute=40), gateways=1)
    cluster.is_away = True
    answer = await cluster.ask()
    assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "limits_unknown", "1")
    cluster.is_away = False
    await until(lambda: cluster.reports > 3)
    assert (await cluster.ask()).status == 200


async def test_a_tenant_without_limits_is_no_matter_for_state(
    start_engine: StartEngine, open_cluster: OpenCluster
) -> None:
    cluster = await open_cluster(await start_engine(WHOLE), Limits(), gateways=1)
    answer = await cluster.ask()
    assert answer.status == 200
    assert not any(name.startswith("x-ratelimit") for name in answer.headers)
    await asyncio.sleep(0.3)
    assert cluster.reports == 0


async def test_a_flood_over_the_limit_is_no_flood_of_calls_to_state(
    start_engine: StartEngine, open_cluster: OpenCluster
) -> None:
    cluster = await open_cluster(await start_engine(WHOLE), Limits(requests_per_minute=5), gateways=1)
    began = cluster.reports
    for _ in range(300):
        await cluster.ask()
    assert cluster.reports - began < 100


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, b"0ms"), (0.0201, b"21ms"), (1.5, b"1.5s"), (60, b"1m0s"), (61.25, b"1m1.25s")]
)
def test_times_are_written_as_openai_does(seconds: float, text: bytes) -> None:
    assert duration(seconds) == text
