"""A request's spans at a real receiver, and the trace that its engine is asked to join."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from deployments.gateway.tracing import OtlpTracing
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import STREAMING, OpenStand, Stand, post
from tests.unit.gateway.otlp_receiver import OtlpReceiver, receiving
from tests.unit.gateway.recipes.engine import ChatEngine
from tests.unit.gateway.scripted_engine import Exchange, hang_up, stream, unary
from tests.unit.gateway.test_request_record import NUMBERS, SECRET_WORDS, STREAMED, watched

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"traceparent: 00-{TRACE}-{CALLER}-01\r\ntracestate: acme=1\r\n"
NOT_SAMPLED = f"traceparent: 00-{TRACE}-{CALLER}-00\r\n"
ROUNDED_NS = 1_000  # times since the epoch are floats
CHAT = "POST /v1/chat/completions"
ROOT = Path(__file__).parents[3]


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with receiving() as started:
        yield started


def trace(gateway: Stand, receiver: OtlpReceiver, sample: float = 1.0, *, follows_callers: bool = False) -> OtlpTracing:
    app = gateway.gateway.app
    tracing = OtlpTracing(
        app.routers.gateway_id, receiver.endpoint, sample, follows_callers=follows_callers, random=Random(1)
    )
    app.tracing = tracing
    return tracing


async def close(gateway: Stand, tracing: OtlpTracing) -> None:
    await gateway.settled()
    await asyncio.to_thread(tracing.close)


def header(exchange: Exchange, name: str) -> str | None:
    lines = exchange.head.decode().split("\r\n")
    return next((line.partition(": ")[2] for line in lines if line.startswith(name + ": ")), None)


async def test_a_request_has_a_span_for_each_stage_in_its_callers_trace_and_the_engine_is_asked_to_join(
    start_engine: StartEngine, open_stand: OpenStand, receiver: OtlpReceiver
) -> None:
    engine = await start_engine(stream(*STREAMED))
    gateway = await open_stand(engine)
    tracing, records = trace(gateway, receiver), watched(gateway)
    answer = await gateway.ask(post(body=STREAMING, headers=SAMPLED))
    await close(gateway, tracing)
    (span,) = receiver.named(CHAT)
    assert (span["trace"], span["parent"], span["state"]) == (TRACE, CALLER, "acme=1")
    assert span["service"]["service.name"] == "baryon-gateway"
    assert span["attributes"]["baryon.request_id"] == answer.headers["x-request-id"]
    assert span["attributes"]["gen_ai.usage.output_tokens"] == 3
    assert span["ms"] == pytest.approx(records[0].e2e_ms, abs=0.01)
    children = [child for child in receiver.spans if child["parent"] == span["id"]]
    assert {child["name"] for child in children} >= {"auth", "read", "route", "engine"}
    for child in children:
        assert span["began_ns"] <= child["began_ns"] <= child["ended_ns"] <= span["ended_ns"] + ROUNDED_NS
    (attempt,) = receiver.named("engine")
    assert header(engine.exchanges[0], "traceparent") == f"00-{TRACE}-{attempt['id']}-01"
    assert header(engine.exchanges[0], "tracestate") == "acme=1"
    assert records[0].trace_id == TRACE


async def test_what_its_caller_does_not_sample_is_not_sampled_and_the_engine_hears_so(
    start_engine: StartEngine, open_stand: OpenStand, receiver: OtlpReceiver
) -> None:
    engine = await start_engine(unary(b"{}"))
    gateway = await open_stand(engine)
    tracing = trace(gateway, receiver)
    await gateway.ask(post(headers=NOT_SAMPLED))
    await close(gateway, tracing)
    assert not receiver.spans
    told = header(engine.exchanges[0], "traceparent")
    assert told is not None
    assert (told[:36], told[-3:]) == (f"00-{TRACE}-", "-00")


async def test_a_share_of_what_begins_here_is_sampled(
    start_engine: StartEngine, open_stand: OpenStand, receiver: OtlpReceiver
) -> None:
    gateway = await open_stand(await start_engine(unary(b"{}")))
    tracing = trace(gateway, receiver, sample=0.25)
    for _ in range(200):
        await gateway.ask(post())
    await close(gateway, tracing)
    assert 20 <= len(receiver.named(CHAT)) <= 80


@pytest.mark.parametrize("trace_id", [TRACE, "f" * 16 + "0" * 15 + "1"])
async def test_a_caller_gets_no_more_spans_than_others_whatever_it_calls_sampled(
    start_engine: StartEngine, open_stand: OpenStand, receiver: OtlpReceiver, trace_id: str
) -> None:
    """The second id is one that a share of ids always has."""
    engine = await start_engine(unary(b"{}"))
    gateway = await open_stand(engine)
    tracing = trace(gateway, receiver, sample=0.25)
    for _ in range(200):
        await gateway.ask(post(headers=SAMPLED.replace(TRACE, trace_id)))
    await close(gateway, tracing)
    sampled = len(receiver.named(CHAT))
    assert 20 <= sampled <= 80
    told = [header(exchange, "traceparent") or "" for exchange in engine.exchanges]
    assert {words[:36] for words in told} == {f"00-{trace_id}-"}, "it is joined, sampled or not"
    assert sum(words.endswith("-01") for words in told) == sampled


async def test_callers_that_are_the_operators_own_may_be_followed(
    start_engine: StartEngine, open_stand: OpenStand, receiver: OtlpReceiver
) -> None:
    gateway = await open_stand(await start_engine(unary(b"{}")))
    tracing = trace(gateway, receiver, sample=0.0, follows_callers=True)
    for headers in (SAMPLED, NOT_SAMPLED, ""):
        await gateway.ask(post(headers=headers))
    await close(gateway, tracing)
    assert [span["parent"] for span in receiver.named(CHAT)] == [CALLER]


async def test_what_a_recipe_asks_is_sampled_as_the_recipe_is(
    start_engine: StartEngine, open_stand: OpenStand, receiver: OtlpReceiver
) -> None:
    gateway = await open_stand(await start_engine(ChatEngine("Because.")))
    tracing = trace(gateway, receiver, sample=0.5)
    for _ in range(20):
        await gateway.ask(post("/v1/recipes/answer", {"inputs": {"question": "Why?"}}, headers=SAMPLED))
    await close(gateway, tracing)
    recipes = {span["id"] for span in receiver.named("POST /v1/recipes")}
    assert 0 < len(recipes) < 20
    assert sorted(span["parent"] for span in receiver.named(CHAT)) == sorted(recipes)


async def test_each_replica_asked_has_a_span_and_faults_are_marked(
    start_engine: StartEngine, open_stand: OpenStand, receiver: OtlpReceiver
) -> None:
    gateway = await open_stand(await start_engine(hang_up), await start_engine(hang_up))
    tracing = trace(gateway, receiver)
    assert (await gateway.ask(post())).status == 503
    await close(gateway, tracing)
    assert {span["attributes"]["baryon.replica"] for span in receiver.named("engine")} == {"r0", "r1"}
    (span,) = receiver.named(CHAT)
    assert span["status"] == 2
    assert span["attributes"]["error.type"] == "engine_unavailable"


async def test_spans_have_no_word_of_the_prompt(
    start_engine: StartEngine, open_stand: OpenStand, receiver: OtlpReceiver
) -> None:
    gateway = await open_stand(await start_engine(unary(b"{" + NUMBERS)))
    tracing = trace(gateway, receiver)
    for model in (STREAMING["model"], SECRET_WORDS):
        await gateway.ask(post(body={"model": model, "messages": [{"role": "user", "content": SECRET_WORDS}]}))
    await close(gateway, tracing)
    assert len(receiver.named(CHAT)) == 2
    assert SECRET_WORDS not in repr(receiver.spans)


async def test_a_receiver_that_is_away_harms_nobody(start_engine: StartEngine, open_stand: OpenStand) -> None:
    gateway = await open_stand(await start_engine(unary(b"{}")))
    gateway.gateway.app.tracing = OtlpTracing("g", "http://127.0.0.1:1/v1/traces", 1.0)
    assert [(await gateway.ask(post())).status for _ in range(20)] == [200] * 20


async def test_a_span_that_cannot_end_hides_no_request(
    start_engine: StartEngine, open_stand: OpenStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no span")

    gateway = await open_stand(await start_engine(unary(b"{}")))
    gateway.gateway.app.tracing = OtlpTracing("g", "http://127.0.0.1:1/v1/traces", 1.0)
    monkeypatch.setattr(OtlpTracing, "ended", fail)
    assert (await gateway.ask(post())).status == 200
    await gateway.settled()
    assert len(gateway.gateway.app.recent.latest()) == 1


async def test_without_tracing_the_clients_headers_stay_here_and_its_trace_is_in_the_record(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    engine = await start_engine(unary(b"{}"))
    gateway = await open_stand(engine)
    records = watched(gateway)
    for headers in (SAMPLED, "traceparent: nonsense\r\n", ""):
        await gateway.ask(post(headers=headers))
    await gateway.settled()
    assert [header(exchange, "traceparent") for exchange in engine.exchanges] == [None] * 3
    assert [record.trace_id for record in records] == [TRACE, "", ""]


def test_a_gateway_without_tracing_does_not_load_opentelemetry() -> None:
    code = "import sys, deployments.gateway.server; sys.exit('opentelemetry' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


async def test_a_recipe_is_a_span_with_its_engine_calls_below_it(
    start_engine: StartEngine, open_stand: OpenStand, receiver: OtlpReceiver
) -> None:
    engine = await start_engine(ChatEngine("Because."))
    gateway = await open_stand(engine)
    tracing = trace(gateway, receiver)
    body = {"inputs": {"question": SECRET_WORDS}}
    answer = await gateway.ask(post("/v1/recipes/answer", body, headers=SAMPLED))
    await close(gateway, tracing)
    (recipe,), (call,), (attempt,) = (receiver.named(name) for name in ("POST /v1/recipes", CHAT, "engine"))
    assert [span["parent"] for span in (recipe, call, attempt)] == [CALLER, recipe["id"], call["id"]]
    assert recipe["attributes"]["baryon.recipe"] == call["attributes"]["baryon.recipe"] == "answer"
    assert recipe["attributes"]["baryon.request_id"] == answer.headers["x-request-id"]
    assert recipe["attributes"]["http.response.status_code"] == 200
    assert header(engine.exchanges[0], "traceparent") == f"00-{TRACE}-{attempt['id']}-01"
    assert SECRET_WORDS not in repr(receiver.spans)
