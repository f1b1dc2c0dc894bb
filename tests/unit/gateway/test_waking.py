"""A model at zero replicas: requests wake it and wait, and are told what for."""

import asyncio
import time
from typing import Any

import orjson
import pytest

from deployments.gateway.catalogue import ModelCard, Scaling, Wake
from deployments.gateway.settings import GatewaySettings
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import MODEL, STREAMING, Answer, Client, OpenStand, Stand, get, post, until
from tests.unit.gateway.scripted_engine import (
    Exchange,
    hang_up,
    never_answer,
    stream,
    stream_then_die,
    stream_then_stall,
    unary,
)

WAKE = Wake(max_wait_s=60, max_waiting=4)
TALKATIVE = GatewaySettings(first_word_s=0.02, word_period_s=0.05)
EVENTS = (b"data: 1\n\n", b"data: [DONE]\n\n")


async def asleep(open_stand: OpenStand, settings: GatewaySettings | None = None, **news: Any) -> Stand:
    gateway = await open_stand(settings=settings)
    gateway.know(**{"wake": WAKE, "scaling": Scaling(cold_start_s=40), "not_ready": "it is at zero replicas.", **news})
    return gateway


async def waiting(gateway: Stand, raw: bytes) -> Client:
    """A client whose request is in the line."""
    before = gateway.waiting()
    client = await gateway.client()
    client.send(raw)
    await until(lambda: gateway.waiting() == before + 1)
    return client


async def told(gateway: Stand, body: Any = STREAMING, path: str = "/v1/chat/completions") -> Client:
    """A client whose stream waits and has been given its head."""
    client = await waiting(gateway, post(path, body))
    await client.head()
    return client


async def rest(client: Client) -> Answer:
    body = b""
    try:
        while chunk := await client.chunk():
            body += chunk
    except (asyncio.IncompleteReadError, ConnectionError):
        return Answer(200, {}, body, whole=False)
    return Answer(200, {}, body)


def events(body: bytes) -> bytes:
    """What a client of event streams sees: comments left out."""
    return b"".join(event + b"\n\n" for event in body.split(b"\n\n") if event and not event.startswith(b":"))


async def test_a_whole_answer_waits_for_the_first_replica(start_engine: StartEngine, open_stand: OpenStand) -> None:
    gateway = await asleep(open_stand)
    client = await waiting(gateway, post())
    gateway.have(await start_engine(unary(b"{}")))
    answer = await client.answer()
    assert (answer.status, answer.body, answer.headers["x-baryon-replica"]) == (200, b"{}", "r0")
    await gateway.settled()
    assert gateway.waiting() == 0


async def test_a_stream_that_waits_shortly_is_like_any_other(start_engine: StartEngine, open_stand: OpenStand) -> None:
    gateway = await asleep(open_stand)
    client = await waiting(gateway, post(body=STREAMING))
    gateway.have(await start_engine(stream(*EVENTS)))
    answer = await client.answer()
    assert (answer.body, answer.headers["x-baryon-replica"]) == (b"".join(EVENTS), "r0")


async def test_a_stream_that_waits_long_is_told_what_for_until_its_answer_comes(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await asleep(open_stand, TALKATIVE)
    client = await waiting(gateway, post(body=STREAMING))
    status, headers = await client.head()
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert headers["x-request-id"].startswith("req-")
    assert await client.chunk() == f": baryon: waking {MODEL}, about 40 s: it is at zero replicas.\n\n".encode()
    asked = Scaling(cold_start_s=40, asked_at_s=time.time() - 30)
    gateway.know(scaling=asked, not_ready="a replica is starting (loading\r\ndata: the weights).")
    while b"loading" not in (said := await client.chunk()):
        assert said.startswith(b": baryon: waking")
    assert (
        said == f": baryon: waking {MODEL}, about 10 s: a replica is starting (loading data: the weights).\n\n".encode()
    )
    gateway.have(await start_engine(stream(*EVENTS)))
    answer = await rest(client)
    assert answer.whole
    assert events(answer.body) == b"".join(EVENTS)
    assert b": x-baryon-replica: r0\n" in answer.body
    await gateway.settled()


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/responses", "/v1/messages"])
async def test_every_route_that_streams_is_told(start_engine: StartEngine, open_stand: OpenStand, path: str) -> None:
    gateway = await asleep(open_stand, TALKATIVE)
    client = await told(gateway, {"model": MODEL, "stream": True}, path)
    assert (await client.chunk()).startswith(b": baryon: waking")
    gateway.have(await start_engine(stream(*EVENTS)))
    assert events((await rest(client)).body) == b"".join(EVENTS)


@pytest.mark.parametrize("path", ["/v1/embeddings", "/tokenize"])
async def test_a_route_that_never_streams_is_not(start_engine: StartEngine, open_stand: OpenStand, path: str) -> None:
    gateway = await asleep(open_stand, TALKATIVE)
    client = await waiting(gateway, post(path, STREAMING))
    await asyncio.sleep(0.2)
    gateway.have(await start_engine(unary(b"{}")))
    assert (await client.answer()).body == b"{}"


async def test_an_http_1_0_client_that_waits_gets_comments_and_its_stream(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await asleep(open_stand, TALKATIVE)
    client = await waiting(gateway, post(body=STREAMING).replace(b"HTTP/1.1", b"HTTP/1.0"))
    await asyncio.sleep(0.1)
    gateway.have(await start_engine(stream(*EVENTS)))
    answer = await client.answer()
    assert "transfer-encoding" not in answer.headers
    assert answer.body.startswith(b": baryon: waking")
    assert events(answer.body) == b"".join(EVENTS)


async def test_who_asks_why_is_told_in_a_comment_once_the_head_is_gone(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await asleep(open_stand, TALKATIVE)
    client = await waiting(gateway, post(body=STREAMING, headers="x-baryon-explain: 1\r\n"))
    await client.head()
    gateway.have(await start_engine(stream(*EVENTS)))
    body = (await rest(client)).body
    route = body.partition(b": x-baryon-route: ")[2].partition(b"\n")[0]
    assert orjson.loads(route)["replica"] == "r0"
    assert events(body) == b"".join(EVENTS)


async def test_requests_go_in_in_the_order_they_came_and_nobody_overtakes(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    turn = asyncio.Semaphore(0)

    async def one_at_a_time(exchange: Exchange) -> None:
        await turn.acquire()
        await unary(b"{}")(exchange)

    engine = await start_engine(one_at_a_time)
    gateway = await asleep(open_stand)
    clients = [await waiting(gateway, post(body={"model": MODEL, "seed": n})) for n in range(3)]
    gateway.have(engine, max_in_flight=1)
    await until(lambda: len(engine.exchanges) == 1)
    clients.append(await waiting(gateway, post(body={"model": MODEL, "seed": 3})))
    for n, client in enumerate(clients):
        turn.release()
        assert (await client.answer()).status == 200
        assert orjson.loads(engine.exchanges[n].body)["seed"] == n
    await gateway.settled()


async def test_a_full_room_is_a_503_that_says_when_to_come_back(open_stand: OpenStand) -> None:
    gateway = await asleep(open_stand)
    for _ in range(WAKE.max_waiting):
        await waiting(gateway, post())
    answer = await gateway.ask(post())
    assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "at_capacity", "40")
    assert "4 requests wait" in answer.error["message"]


async def test_large_bodies_that_wait_are_bounded_together(open_stand: OpenStand) -> None:
    gateway = await asleep(open_stand, wake=Wake(max_wait_s=60, max_waiting=1000))
    body = orjson.dumps({"model": MODEL, "messages": ["x" * 8_000_000]})
    for _ in range(8):
        await waiting(gateway, post(body=body))
    answer = await gateway.ask(post(body=body))
    assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "at_capacity", "40")
    assert "64 MiB" in answer.error["message"]
    await waiting(gateway, post())


async def test_a_wait_longer_than_allowed_is_refused_at_once_and_wakes_the_model(open_stand: OpenStand) -> None:
    gateway = await asleep(open_stand, scaling=Scaling(cold_start_s=94.2))
    answer = await gateway.ask(post())
    assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "model_not_ready", "95")
    assert "at most 60 s" in answer.error["message"]
    assert gateway.gateway.app.room.news.is_set()
    assert gateway.gateway.app.demand(0)[MODEL].waiting_requests == 1
    assert gateway.gateway.app.demand(0)[MODEL].waiting_requests == 0


async def test_a_start_under_way_shortens_the_wait(open_stand: OpenStand) -> None:
    gateway = await asleep(open_stand, scaling=Scaling(cold_start_s=94, asked_at_s=time.time() - 50))
    await waiting(gateway, post())


async def test_who_waited_in_vain_hears_how_long_it_may_still_take(open_stand: OpenStand) -> None:
    asked = Scaling(cold_start_s=20, asked_at_s=time.time() - 10)
    gateway = await asleep(open_stand)
    gateway.know(wake=Wake(max_wait_s=20, max_waiting=4), scaling=asked)
    gateway.know(wake=Wake(max_wait_s=0.1, max_waiting=4), scaling=Scaling(cold_start_s=0.05))
    client = await waiting(gateway, post())
    gateway.know(scaling=asked)
    answer = await client.answer()
    assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "model_not_ready", "10")
    assert gateway.waiting() == 0
    assert gateway.gateway.app.demand(0)[MODEL].waiting_requests == 1


async def test_a_stream_that_waited_in_vain_ends_with_an_error_event(open_stand: OpenStand) -> None:
    gateway = await asleep(open_stand, TALKATIVE, wake=Wake(0.15, 4), scaling=Scaling(cold_start_s=0.1))
    client = await told(gateway)
    answer = await rest(client)
    assert not answer.whole
    assert events(answer.body).startswith(b'data: {"error":{"message":')
    assert b"Try again in 1 s." in answer.body


async def test_a_model_that_never_sleeps_makes_nobody_wait(open_stand: OpenStand) -> None:
    gateway = await asleep(open_stand, wake=None)
    answer = await gateway.ask(post())
    assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "model_not_ready", "5")
    assert gateway.gateway.app.demand(0)[MODEL].waiting_requests == 0


@pytest.mark.parametrize("body", [STREAMING, None])
async def test_a_client_that_leaves_frees_its_place_at_once(
    start_engine: StartEngine, open_stand: OpenStand, body: Any
) -> None:
    gateway = await asleep(open_stand)
    leaving = [await waiting(gateway, post(body=body)) for _ in range(WAKE.max_waiting)]
    for client in leaving:
        client.leave()
    await until(lambda: gateway.waiting() == 0)
    staying = await waiting(gateway, post())
    engine = await start_engine(unary(b"{}"))
    gateway.have(engine)
    assert (await staying.answer()).status == 200
    await gateway.settled()
    assert len(engine.exchanges) == 1


async def test_requests_pipelined_behind_one_that_waits_are_answered_after_it(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await asleep(open_stand, TALKATIVE)
    client = await waiting(gateway, post(body=STREAMING) + get("/health") + post())
    await client.head()
    gateway.have(await start_engine(stream(*EVENTS)))
    assert events((await rest(client)).body) == b"".join(EVENTS)
    assert (await client.answer()).json()["status"] == "ok"
    assert (await client.answer()).status == 200


async def test_a_model_that_is_taken_away_is_a_404_for_all_who_wait_for_it(open_stand: OpenStand) -> None:
    gateway = await open_stand()
    gateway.catalogue.replace(
        {"never-awake": ModelCard("never-awake", "vllm", wake=WAKE, scaling=Scaling(cold_start_s=9))}
    )
    clients = [await gateway.client() for _ in range(3)]
    for client in clients:
        client.send(post(body={"model": "never-awake"}))
    await until(lambda: gateway.gateway.app.room.waiting("never-awake") == 3)
    gateway.catalogue.replace({})
    gateway.gateway.keep_models(set())
    for client in clients:
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("fails_at_first", [hang_up, stream_then_die()])
async def test_a_waiting_stream_is_asked_elsewhere_until_an_engines_first_byte(
    start_engine: StartEngine, open_stand: OpenStand, fails_at_first: Any
) -> None:
    gateway = await asleep(open_stand, TALKATIVE)
    client = await told(gateway)
    dying = await start_engine(fails_at_first)
    gateway.have(dying, leaving=[0])
    await until(lambda: bool(dying.exchanges) and gateway.waiting() == 1)
    gateway.have(dying, await start_engine(stream(*EVENTS)), leaving=[0])
    answer = await rest(client)
    assert answer.whole
    assert events(answer.body) == b"".join(EVENTS)
    assert b"x-baryon-replica: r1" in answer.body
    assert b"x-baryon-replica: r0" not in answer.body
    await gateway.settled()


VLLM_ERROR = b'{"error":{"message":"max_tokens is too large",\n"type":"BadRequestError","param":null,"code":400}}'
ANTHROPIC_ERROR = b'{"type":"error",\n"error":{"type":"invalid_request_error","message":"max_tokens is too large"}}'


@pytest.mark.parametrize(
    ("path", "status", "body", "event"),
    [
        ("/v1/chat/completions", b"400 Bad Request", VLLM_ERROR, b"data: " + VLLM_ERROR.replace(b"\n", b"")),
        (
            "/v1/messages",
            b"400 Bad Request",
            ANTHROPIC_ERROR,
            b"event: error\ndata: " + ANTHROPIC_ERROR.replace(b"\n", b""),
        ),
        ("/v1/chat/completions", b"404 Not Found", b"{}", b'data: {"error":{"message":"This model does not serve'),
        ("/v1/messages", b"500 Oh", b"{}", b'event: error\ndata: {"type":"error","error":{"type":"api_error"'),
        ("/v1/chat/completions", b"200 OK", b'{"not":"a stream"}', b'data: {"error":{"message":"The engine failed'),
    ],
)
async def test_an_engines_refusal_after_a_wait_is_an_error_event_without_a_proper_end(
    start_engine: StartEngine, open_stand: OpenStand, path: str, status: bytes, body: bytes, event: bytes
) -> None:
    gateway = await asleep(open_stand, TALKATIVE)
    client = await told(gateway, {"model": MODEL, "stream": True}, path)
    gateway.have(await start_engine(unary(body, status)))
    answer = await rest(client)
    assert not answer.whole
    assert events(answer.body).startswith(event)
    assert b"not" not in events(answer.body) or b"200" not in status
    await gateway.settled()


async def test_an_engine_silent_after_a_wait_is_an_error_event(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    settings = GatewaySettings(first_word_s=0.02, word_period_s=0.05, first_token_timeout_s=0.1)
    gateway = await asleep(open_stand, settings)
    client = await told(gateway)
    gateway.have(await start_engine(stream_then_stall()))
    answer = await rest(client)
    assert not answer.whole
    assert b"first_token_timeout" in events(answer.body)


async def test_a_request_that_races_with_the_last_replicas_end_wakes_the_model_again(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await asleep(open_stand)
    last = await start_engine(hang_up)
    gateway.have(last, leaving=[0])
    client = await gateway.client()
    client.send(post())
    await until(lambda: gateway.waiting() == 1)
    assert gateway.gateway.app.room.news.is_set()
    assert gateway.gateway.app.demand(0)[MODEL].waiting_requests == 1
    gateway.have()
    gateway.have(last, await start_engine(unary(b"{}")), leaving=[0])
    assert (await client.answer()).headers["x-baryon-replica"] == "r1"


async def test_a_draining_gateway_serves_who_waits_if_a_replica_comes_in_time(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await asleep(open_stand)
    client = await waiting(gateway, post())
    draining = asyncio.create_task(gateway.gateway.drain(5))
    await asyncio.sleep(0.05)
    gateway.have(await start_engine(unary(b"{}")))
    assert (await client.answer()).status == 200
    await draining


async def test_a_draining_gateway_tells_who_still_waits_to_go_elsewhere_and_is_not_held_up(
    open_stand: OpenStand,
) -> None:
    gateway = await asleep(open_stand, TALKATIVE)
    clients = [await waiting(gateway, post()) for _ in range(3)]
    streaming = await told(gateway)
    began_s = time.monotonic()
    await gateway.gateway.drain(1.2)
    assert time.monotonic() - began_s < 1.2
    for client in clients:
        answer = await client.answer()
        assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "shutting_down", "1")
    answer = await rest(streaming)
    assert b"shutting_down" in events(answer.body)
    assert not answer.whole


async def test_a_sleeping_model_is_listed_and_the_gateway_is_well(open_stand: OpenStand) -> None:
    gateway = await asleep(open_stand)
    await waiting(gateway, post())
    (model,) = (await gateway.ask(get("/v1/models"))).json()["data"]
    assert (model["id"], model["ready_replicas"]) == (MODEL, 0)
    health = await gateway.ask(get("/health"))
    assert (health.status, health.json()["status"]) == (200, "ok")


async def test_who_waits_behind_a_replica_that_stays_full_is_told_that_it_is_full(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await asleep(open_stand, wake=Wake(max_wait_s=0.3, max_waiting=4), scaling=Scaling(cold_start_s=0.1))
    first, second = await waiting(gateway, post()), await waiting(gateway, post())
    engine = await start_engine(never_answer)
    gateway.have(engine, max_in_flight=1)
    answer = await second.answer()
    assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "at_capacity", "1")
    first.leave()
    await gateway.settled()


async def test_a_stream_that_waits_behind_a_full_replica_is_told_so(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await asleep(open_stand, TALKATIVE)
    first = await waiting(gateway, post())
    second = await told(gateway)
    engine = await start_engine(never_answer)
    gateway.have(engine, max_in_flight=1)
    await until(lambda: bool(engine.exchanges))
    while b"full" not in (said := await second.chunk()):
        assert said.startswith(b": baryon: waking")
    assert said.startswith(f": baryon: {MODEL} is awake and full".encode())
    first.leave()
    second.leave()
    await gateway.settled()
