"""What the gateway counts of a request, however it ends, with an engine that puts several tokens into an event."""

import orjson

from deployments.gateway.settings import GatewaySettings
from deployments.gateway.usage_counts import Counts
from engine.computed import Computed
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import MODEL, STREAMING, OpenStand, Stand, post, until
from tests.unit.gateway.scripted_engine import (
    Exchange,
    Script,
    hang_up,
    stream,
    stream_then_die,
    stream_then_stall,
    unary,
)

TEXT = b'{"index":0,"delta":{"content":"a b"},"finish_reason":null}'
DONE = b"data: [DONE]\n\n"


def event(output: int, prompt: int = 9, choice: bytes = TEXT, details: bytes = b"") -> bytes:
    tokens = (prompt, prompt + output, output, details)
    so_far = b'"usage":{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d%b}' % tokens
    return b'data: {"id":"1","choices":[%b],%b}\n\n' % (choice, so_far)


LAST = event(7, choice=b"", details=b',"prompt_tokens_details":{"cached_tokens":4}')
STREAM = (event(0), event(3), event(6), event(7), LAST, DONE)
SHOWN = b'data: {"id":"1","choices":[%b]}\n\n' % TEXT


async def taken(stand: Stand) -> Counts:
    await stand.settled()
    return sum((counts for _, counts in stand.gateway.app.tally.take()), Counts())


def key_of(exchange: Exchange) -> str:
    """What the engine calls it in its feed."""
    lines = dict(line.split(b": ", 1) for line in exchange.head.split(b"\r\n")[1:] if line)
    gateway, name, *_ = lines[b"x-baryon-dispatch"].decode().split(" ")
    return f"{gateway}/{name}"


async def test_a_completed_stream_counts_what_the_engine_says_and_shows_none_of_it(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    stand = await open_stand(await start_engine(stream(*STREAM)))
    answer = await stand.ask(post(body=STREAMING))
    assert answer.body == SHOWN * 4 + DONE
    assert await taken(stand) == Counts(1, 1, 9, 4, 7)


async def test_a_client_gets_the_usage_it_asked_for_and_no_more(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    stand = await open_stand(await start_engine(stream(*STREAM)))
    at_end = await stand.ask(post(body={**STREAMING, "stream_options": {"include_usage": True}}))
    assert at_end.body == SHOWN * 4 + LAST + DONE
    options = {"include_usage": True, "continuous_usage_stats": True}
    each = await stand.ask(post(body={**STREAMING, "stream_options": options}))
    assert each.body == b"".join(STREAM)


async def test_of_a_stream_whose_client_left_what_was_delivered_counts(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    engine = await start_engine(stream_then_stall(event(0), event(3), event(5)))
    stand = await open_stand(engine)
    client = await stand.client()
    client.send(post(body=STREAMING))
    await client.head()
    received = b""
    while received.count(b"\n\n") < 3:
        received += await client.chunk()
    client.leave()
    assert await taken(stand) == Counts(1, 0, 9, 0, 5)
    stand.gateway.app.tally.spent("r0", key_of(engine.exchanges[0]), Computed(9, 4, 8))
    assert await taken(stand) == Counts(0, 0, 0, 4, 0, 0, 3)


async def test_a_stream_that_runs_is_counted_before_it_ends(start_engine: StartEngine, open_stand: OpenStand) -> None:
    """So that a gateway which is killed takes no more than its last second with it."""
    stand = await open_stand(await start_engine(stream_then_stall(event(0), event(3))))
    client = await stand.client()
    client.send(post(body=STREAMING))
    await client.head()
    counts = Counts()

    def has_it_all() -> bool:
        nonlocal counts
        counts = sum((news for _, news in stand.gateway.app.tally.take()), counts)
        return counts == Counts(1, 0, 9, 0, 3)

    await until(has_it_all)
    client.leave()
    assert await taken(stand) == Counts()


async def test_a_whole_answer_whose_client_left_is_all_surplus(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    async def slow(exchange: Exchange) -> None:
        await exchange.wait_until_gone()

    engine = await start_engine(slow)
    stand = await open_stand(engine)
    client = await stand.client()
    client.send(post())
    await until(lambda: len(engine.exchanges) == 1)
    client.leave()
    assert await taken(stand) == Counts(1)
    stand.gateway.app.tally.spent("r0", key_of(engine.exchanges[0]), Computed(9, 4, 8))
    assert await taken(stand) == Counts(surplus_prompt_tokens=9, surplus_output_tokens=8)


async def test_an_engine_that_dies_leaves_what_was_delivered(start_engine: StartEngine, open_stand: OpenStand) -> None:
    stand = await open_stand(await start_engine(stream_then_die(event(0), event(3), event(5))))
    assert not (await stand.ask(post(body=STREAMING))).whole
    assert await taken(stand) == Counts(1, 0, 9, 0, 5)


async def test_a_stalled_stream_that_is_given_up_counts_what_was_delivered(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    engine = await start_engine(stream_then_stall(event(0), event(3)))
    stand = await open_stand(engine, settings=GatewaySettings(idle_stream_timeout_s=0.2))
    await stand.ask(post(body=STREAMING))
    assert await taken(stand) == Counts(1, 0, 9, 0, 3)


async def test_a_request_that_a_second_replica_answers_counts_once(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    body = b'{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}'
    stand = await open_stand(await start_engine(hang_up), await start_engine(unary(body)))
    for _ in range(4):
        assert (await stand.ask(post())).status == 200
    assert await taken(stand) == Counts(4, 4, 36, 0, 8)


async def test_what_an_engine_refuses_has_no_tokens(start_engine: StartEngine, open_stand: OpenStand) -> None:
    refusing: Script = unary(orjson.dumps({"error": {"message": "no"}}), status=b"400 Bad Request")
    stand = await open_stand(await start_engine(refusing))
    assert (await stand.ask(post())).status == 400
    assert await taken(stand) == Counts(1)


async def test_a_request_that_no_engine_got_is_not_counted(start_engine: StartEngine, open_stand: OpenStand) -> None:
    stand = await open_stand()
    assert (await stand.ask(post())).status == 503
    assert (await stand.ask(post(body={"model": MODEL, "messages": "no"}))).status == 400
    assert await taken(stand) == Counts()


async def test_all_answers_to_one_prompt_are_counted(start_engine: StartEngine, open_stand: OpenStand) -> None:
    other = TEXT.replace(b'"index":0', b'"index":1')
    engine = await start_engine(stream_then_stall(event(0), event(0, choice=other), event(3), event(5, choice=other)))
    stand = await open_stand(engine)
    client = await stand.client()
    client.send(post(body={**STREAMING, "n": 2}))
    await client.head()
    received = b""
    while received.count(b"\n\n") < 4:
        received += await client.chunk()
    client.leave()
    assert await taken(stand) == Counts(1, 0, 9, 0, 8)
