"""Each inference request leaves one record, whatever becomes of it, and its times add up."""

import asyncio
from collections.abc import Callable
from copy import copy
from typing import Any

import pytest

from deployments.gateway.recent_requests import KEPT_PARTS, RecentRequests
from deployments.gateway.request_record import RequestRecord
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.stages import NAMES
from deployments.gateway.tenants.api_key import new_api_key
from deployments.gateway.tenants.tenant import Limits, Tenant
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import MODEL, STREAMING, OpenStand, Stand, get, post, until
from tests.unit.gateway.keys import keyring_of
from tests.unit.gateway.scripted_engine import (
    EVENT_STREAM,
    Exchange,
    Script,
    hang_up,
    never_answer,
    stream,
    stream_then_die,
    stream_then_stall,
    unary,
)

SECRET_WORDS = "the launch code is 0000"
TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
NUMBERS = (
    b'"usage":{"prompt_tokens":900,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":640}},'
    b'"metrics":{"time_to_first_token_ms":4.5,"queue_time_ms":1.5,"generation_time_ms":2.0}}'
)
DONE = b"data: [DONE]\n\n"
STREAMED = (TOKEN, TOKEN, TOKEN, b'data: {"choices":[],' + NUMBERS + b"\n\n", DONE)
QUICK = GatewaySettings(first_token_timeout_s=0.2, idle_stream_timeout_s=0.2, max_body_bytes=5000)


def watched(gateway: Stand) -> list[RequestRecord]:
    records: list[RequestRecord] = []
    gateway.gateway.app.observers.append(lambda record: records.append(copy(record)))
    return records


async def the_record(gateway: Stand, records: list[RequestRecord]) -> RequestRecord:
    await gateway.settled()
    await until(lambda: bool(records))
    (record,) = records
    assert sum(record.stages.spent_ms) == pytest.approx(record.e2e_ms)
    return record


CASES: dict[str, tuple[Script, bytes, str, int, str, bool | None]] = {
    "whole": (unary(b"{" + NUMBERS), post(), "completed", 200, "", True),
    "streamed": (stream(*STREAMED), post(body=STREAMING), "completed", 200, "", True),
    "no JSON": (unary(b"{}"), post(body=b"{"), "refused", 400, "invalid_json", None),
    "no model": (unary(b"{}"), post(body={"model": "gpt"}), "refused", 404, "model_not_found", None),
    "too large": (unary(b"{}"), post(body=b" " * 5001), "refused", 413, "request_too_large", None),
    "refused by the engine": (
        unary(b'{"error":{"message":"no"}}', b"400 Bad Request"),
        post(),
        "refused",
        400,
        "engine_refused",
        None,
    ),
    "failed": (unary(b"{}", b"500 Internal Server Error"), post(), "failed", 500, "engine_error", False),
    "full": (unary(b"{}", b"503 Service Unavailable"), post(), "shed", 503, "at_capacity", False),
    "hung up": (hang_up, post(), "failed", 503, "engine_unavailable", False),
    "cut": (stream_then_die(TOKEN), post(body=STREAMING), "broken", 200, "engine_unavailable", False),
    "silent": (never_answer, post(), "timed_out", 504, "first_token_timeout", False),
    "stands still": (stream_then_stall(TOKEN), post(body=STREAMING), "timed_out", 200, "idle_stream", False),
}


@pytest.mark.parametrize("name", CASES)
async def test_one_record_says_what_became_of_a_request(
    start_engine: StartEngine, open_stand: OpenStand, name: str
) -> None:
    script, request, outcome, status, code, slo_met = CASES[name]
    gateway = await open_stand(await start_engine(script), settings=QUICK)
    records = watched(gateway)
    answer = await gateway.ask(request)
    record = await the_record(gateway, records)
    assert (record.outcome, record.status, record.error_code) == (outcome, status, code)
    assert record.slo_met is slo_met
    assert record.request_id == answer.headers["x-request-id"]
    assert record.gateway_id == gateway.gateway.app.routers.gateway_id


async def test_no_replica_is_shed(open_stand: OpenStand) -> None:
    gateway = await open_stand()
    records = watched(gateway)
    await gateway.ask(post())
    record = await the_record(gateway, records)
    assert (record.outcome, record.error_code, record.model, record.replica) == ("shed", "model_not_ready", MODEL, "")


async def test_nobody_and_who_is_over_a_limit_are_refused(start_engine: StartEngine, open_stand: OpenStand) -> None:
    _, key = new_api_key()
    keyring = keyring_of({key: Tenant("acme", Limits(requests_per_minute=0), priority=3)})
    gateway = await open_stand(await start_engine(unary(b"{}")), keyring=keyring)
    records = watched(gateway)
    answers = [await gateway.ask(post()), await gateway.ask(post(headers=f"authorization: Bearer {key}\r\n"))]
    nobody, acme = records
    assert [answer.status for answer in answers] == [nobody.status, acme.status] == [401, 403]
    assert (nobody.tenant, nobody.model, nobody.outcome) == ("", "", "refused")
    assert (acme.tenant, acme.priority, acme.model, acme.outcome) == ("acme", 3, MODEL, "refused")


@pytest.mark.parametrize("script", [never_answer, stream_then_stall(TOKEN)])
async def test_a_client_that_leaves(start_engine: StartEngine, open_stand: OpenStand, script: Script) -> None:
    engine = await start_engine(script)
    gateway = await open_stand(engine)
    records = watched(gateway)
    client = await gateway.client()
    client.send(post(body=STREAMING))
    await until(lambda: len(engine.exchanges) == 1)
    if script is not never_answer:
        await client.head()
    client.leave()
    record = await the_record(gateway, records)
    assert (record.outcome, record.slo_met) == ("client_gone", None)
    assert record.status == (0 if script is never_answer else 200)


async def test_a_client_that_leaves_with_the_last_word_has_got_it_all(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await open_stand(await start_engine(stream_then_stall(*STREAMED)))
    records = watched(gateway)
    client = await gateway.client()
    client.send(post(body=STREAMING))
    await client.head()
    while not (await client.chunk()).endswith(DONE):
        pass
    client.leave()
    record = await the_record(gateway, records)
    assert (record.outcome, record.slo_met, record.output_tokens) == ("completed", True, 3)


async def test_what_is_no_inference_leaves_none(open_stand: OpenStand) -> None:
    gateway = await open_stand()
    records = watched(gateway)
    for request in (get("/v1/models"), get("/nothing"), get("/v1/chat/completions"), post("/v1/models")):
        await gateway.ask(request)
    assert not records


async def test_tokens_times_and_the_prediction_of_a_stream(start_engine: StartEngine, open_stand: OpenStand) -> None:
    gateway = await open_stand(await start_engine(stream(*STREAMED)))
    records = watched(gateway)
    await gateway.ask(post(body=STREAMING, headers="x-request-id: mine-1\r\n"))
    record = await the_record(gateway, records)
    assert (record.prompt_tokens, record.cached_tokens, record.output_tokens) == (900, 640, 3)
    assert (record.engine_queue_ms, record.prefill_ms, record.decode_ms) == (1.5, 4.5, 2.0)
    assert record.ttft_ms is not None
    assert 0 < record.ttft_ms <= record.e2e_ms
    assert record.predicted_ttft_ms is not None
    assert (record.predicted_hit_tokens, record.replica, record.tried) == (0, "r0", ())
    assert (record.stream, record.client_request_id, record.model) == (True, "mine-1", MODEL)


async def test_the_gaps_of_a_stream_are_between_its_tokens(start_engine: StartEngine, open_stand: OpenStand) -> None:
    async def script(exchange: Exchange) -> None:
        exchange.writer.write(EVENT_STREAM)
        for event in STREAMED:
            exchange.chunk(event)
            await asyncio.sleep(0.05)
        exchange.writer.write(b"0\r\n\r\n")

    gateway = await open_stand(await start_engine(script))
    records = watched(gateway)
    await gateway.ask(post(body=STREAMING))
    record = await the_record(gateway, records)
    assert len(record.gaps_ms) == 2
    assert all(40 < gap_ms < 1000 for gap_ms in record.gaps_ms)


async def test_the_time_to_first_token_of_a_whole_answer_is_the_engines(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    async def answers_after_200_ms(exchange: Exchange) -> None:
        await asyncio.sleep(0.2)
        await unary(b"{" + NUMBERS)(exchange)

    gateway = await open_stand(await start_engine(answers_after_200_ms))
    records = watched(gateway)
    await gateway.ask(post())
    record = await the_record(gateway, records)
    assert record.ttft_ms is not None
    assert 1.5 + 4.5 <= record.ttft_ms <= record.e2e_ms - 200 + 1.5 + 4.5


async def test_time_with_a_replica_that_did_not_answer_is_apart(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    async def thinks_and_hangs_up(exchange: Any) -> None:
        await asyncio.sleep(0.1)
        exchange.writer.transport.abort()

    gateway = await open_stand(await start_engine(thinks_and_hangs_up), await start_engine(unary(b"{" + NUMBERS)))
    records = watched(gateway)
    while not any(record.tried for record in records):
        await gateway.ask(post())
    record = next(record for record in records if record.tried)
    assert (record.tried, record.replica, record.outcome) == (("r0",), "r1", "completed")
    assert record.retry_ms >= 90
    assert record.engine_ms < 90


async def test_time_in_the_line_is_queue(start_engine: StartEngine, open_stand: OpenStand) -> None:
    engine = await start_engine(never_answer)
    gateway = await open_stand(engine, max_in_flight=1)
    records = watched(gateway)
    first, second = await gateway.client(), await gateway.client()
    first.send(post())
    await until(lambda: len(engine.exchanges) == 1)
    engine.script = unary(b"{}")
    second.send(post())
    await until(lambda: gateway.waiting() == 1)
    await asyncio.sleep(0.1)
    first.leave()
    assert (await second.answer()).status == 200
    await until(lambda: len(records) == 2)
    assert records[1].queue_ms >= 90
    assert records[1].e2e_ms - records[1].queue_ms < 90


async def test_an_observer_that_fails_harms_nobody(start_engine: StartEngine, open_stand: OpenStand) -> None:
    def fail(record: RequestRecord) -> None:
        raise ValueError("on purpose")

    gateway = await open_stand(await start_engine(unary(b"{}")))
    gateway.gateway.app.observers.insert(0, fail)
    records = watched(gateway)
    assert (await gateway.ask(post())).status == 200
    assert (await the_record(gateway, records)).outcome == "completed"


async def test_a_record_has_no_word_of_the_prompt_or_the_key(start_engine: StartEngine, open_stand: OpenStand) -> None:
    _, key = new_api_key()
    gateway = await open_stand(await start_engine(unary(b"{}")), keyring=keyring_of({key: Tenant("acme")}))
    authorization = f"authorization: Bearer {key}\r\n"
    secret = [{"role": "user", "content": SECRET_WORDS}]
    for body in ({"model": MODEL, "messages": secret}, {"model": SECRET_WORDS, "messages": secret}):
        await gateway.ask(post(body=body, headers=authorization))
    documents = repr(gateway.gateway.app.recent.latest())
    assert MODEL in documents
    assert SECRET_WORDS not in documents
    assert key not in documents


def remembered(count: int, kept: int, change: Callable[[int, RequestRecord], None]) -> RecentRequests:
    recent = RecentRequests(kept)
    for number in range(count):
        record = RequestRecord(f"req-{number}", "g", "/v1/completions", client_request_id=f"mine-{number % 7}")
        change(number, record)
        record.stages.end()
        recent.keep(record)
    return recent


def ids(documents: list[dict[str, Any]]) -> list[str]:
    return [document["request_id"] for document in documents]


def test_the_last_requests_are_found_by_either_id_and_older_ones_are_forgotten() -> None:
    recent = remembered(25, 10, lambda _, record: None)
    assert ids(recent.latest()) == [f"req-{number}" for number in range(24, 14, -1)]
    found, mine = recent.find("req-15"), recent.find("mine-0")
    assert found is not None
    assert mine is not None
    assert (found["request_id"], mine["request_id"]) == ("req-15", "req-21")
    assert recent.find("req-14") is None
    assert recent.find("") is None


def test_what_one_recipe_asks_pushes_out_its_own_and_not_everybody_elses() -> None:
    def change(number: int, record: RequestRecord) -> None:
        record.part_of = f"recipe-{number // 100}" if number >= 10 else ""

    recent = remembered(210, 40, change)
    others = [f"req-{number}" for number in range(9, -1, -1)]
    parts = [f"req-{number}" for last in (209, 199, 99) for number in range(last, last - KEPT_PARTS, -1)]
    assert ids(recent.latest()) == [*parts, *others]
    found = recent.find("recipe-0")
    assert found is not None
    assert found["request_id"] == "req-99"


def test_nothing_is_kept_of_a_recipe_whose_calls_are_forgotten() -> None:
    def change(number: int, record: RequestRecord) -> None:
        record.part_of = f"recipe-{number}"

    recent = remembered(50, 10, change)
    assert len(recent.latest()) == len(recent._parts) == 10


def test_recent_requests_are_told_by_model_tenant_outcome_and_slowness() -> None:
    def change(number: int, record: RequestRecord) -> None:
        record.model, record.tenant = "ab"[number % 2], "xyz"[number % 3]
        record.outcome = "completed" if number % 4 else "shed"
        record.slo_met = (False, True, None)[number // 2 % 3]

    recent = remembered(24, 100, change)
    assert ids(recent.latest(2)) == ["req-23", "req-22"]
    assert ids(recent.latest(2, model="a")) == ["req-22", "req-20"]
    assert ids(recent.latest(model="a", tenant="x", outcome="shed")) == ["req-12", "req-0"]
    assert ids(recent.latest(3, slow=True)) == ["req-19", "req-18", "req-13"]


def test_a_document_names_every_stage_and_they_add_up() -> None:
    recent = remembered(1, 1, lambda _, record: None)
    (document,) = recent.latest()
    assert set(document["stages_ms"]) <= set(NAMES)
    assert sum(document["stages_ms"].values()) == pytest.approx(document["e2e_ms"], abs=0.01)
