"""Gateways hear of each other's requests through the engines, whatever the engines do."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import httpx
import pytest

from deployments.gateway import feed
from deployments.gateway.feed import Feeds, dispatch_header
from deployments.gateway.feed_account import MAX_LINE_BYTES
from deployments.gateway.replica_table import ReplicaInfo
from engine.guard import RouteGuard
from engine.internal_token import token_now
from engine.simulated.api import SimulatedApi
from engine.simulated.core import SimulatedEngine
from engine.simulated.profiles import get_profile
from tests.unit.engine.loopback import serving
from tests.unit.gateway.feed_engine import (
    ALIVE,
    HEAD,
    RESET,
    Connection,
    FeedEngine,
    Notes,
    began,
    ended,
    feed_engine,
    first,
)
from tests.unit.gateway.harness import TOKEN, until

MODEL = "m"


@pytest.fixture
async def engine() -> AsyncIterator[FeedEngine]:
    async with feed_engine() as started:
        yield started


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "FIRST_RETRY_S", 0.001)
    monkeypatch.setattr(feed, "LAST_RETRY_S", 0.01)


@asynccontextmanager
async def following(notes: Notes, *replicas: ReplicaInfo, gateway: str = "g2") -> AsyncIterator[Feeds]:
    feeds = Feeds(gateway, notes, notes)
    feeds.watch(MODEL, replicas)
    try:
        yield feeds
    finally:
        await feeds.close()


async def test_the_gateway_asks_by_its_id_and_the_engines_token(engine: FeedEngine) -> None:
    async with following(Notes(), engine.replica()):
        request = (await engine.accepted()).request
    assert request.startswith(b"GET /-/feed?gateway=g2 HTTP/1.1\r\n")
    assert b"\r\nx-baryon-internal-token: %b\r\n" % token_now("secret") in request


async def test_what_the_engine_tells_is_passed_on_in_order(engine: FeedEngine) -> None:
    notes = Notes()
    blocks = dispatch_header("g1", "r2", 1, 0, [1, 2**64 - 1]).decode().rpartition(" ")[2]
    async with following(notes, engine.replica()):
        connection = await engine.accepted()
        connection.write(HEAD)
        connection.tell(RESET, began("g1/r1", f=True), began("g1/r2", p=7, h=0, b=blocks))
        connection.tell(first("g1/r2"), ended("g1/r1"))
        connection.tell(ALIVE)
        connection.tell(ended("g1/r2"))
        await until(lambda: len(notes.told) == 7)
    assert notes.told == [
        ("reset", "r0"),
        ("began", "r0", "g1/r1", 100, 40, ()),
        ("first", "r0", "g1/r1"),
        ("began", "r0", "g1/r2", 7, 0, (1, 2**64 - 1)),
        ("first", "r0", "g1/r2"),
        ("ended", "r0", "g1/r1"),
        ("ended", "r0", "g1/r2"),
    ]


async def test_a_sign_of_life_is_heard(engine: FeedEngine) -> None:
    notes = Notes()
    async with following(notes, engine.replica()):
        connection = await engine.follower()
        await until(lambda: notes.heard_of == ["r0"])
        connection.tell(ALIVE)
        await until(lambda: notes.heard_of == ["r0", "r0"])
        assert notes.told == [("reset", "r0")]


async def test_a_killed_engine_is_followed_again_and_until_then_nothing_is_forgotten(
    engine: FeedEngine, soon: None
) -> None:
    notes = Notes()
    async with following(notes, engine.replica()):
        connection = await engine.follower()
        connection.tell(began("g1/r1"))
        await until(lambda: len(notes.told) == 2)
        engine.kill()
        await connection.left()
        await engine.start()
        again = await engine.accepted()
        assert len(notes.told) == 2
        again.write(HEAD)
        again.tell(RESET, began("g1/r2"))
        await until(lambda: len(notes.told) == 4)
        assert [what for what, *_ in notes.told] == ["reset", "began", "reset", "began"]


def tells(*events: dict[str, object]) -> Callable[[Connection], None]:
    def script(connection: Connection) -> None:
        connection.write(HEAD)
        connection.tell(*events)

    return script


def writes(data: bytes) -> Callable[[Connection], None]:
    return lambda connection: connection.write(data)


def body(data: bytes) -> bytes:
    return HEAD + b"%x\r\n%b\r\n" % (len(data), data)


NOT_A_FEED: dict[str, Callable[[Connection], None]] = {
    "bytes that are not HTTP": writes(b"\x00\xff" * 100),
    "another protocol": writes(b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"),
    "a head without end": writes(b"HTTP/1.1 200 OK\r\nx: " + b"a" * 2 * MAX_LINE_BYTES),
    "an answer that is over": writes(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    "a line that is not JSON": writes(body(b"reset\n")),
    "a line that is not UTF-8": writes(body(b'{"e":"\xff"}\n')),
    "JSON nested without end": writes(body(b"[" * 60_000 + b"\n")),
    "a line without end": writes(body(b"a" * 2 * MAX_LINE_BYTES)),
    "no object": tells(RESET, [1]),  # type: ignore[arg-type]
    "no reset at first": tells(began("g1/r1")),
    "an event without a key": tells(RESET, {"e": "ended"}),
    "an unknown event": tells(RESET, {"e": "left", "k": "g1/r1"}),
    "tokens that are text": tells(RESET, began("g1/r1", p="100")),
    "tokens below zero": tells(RESET, began("g1/r1", h=-1)),
    "a hit beyond the prompt": tells(RESET, began("g1/r1", h=101)),
    "more tokens than there are": tells(RESET, began("g1/r1", p=10**9)),
    "a number beyond all": writes(
        body(b'{"e":"reset"}\n{"e":"began","k":"g1/r1","p":1%b,"h":0,"b":"-"}\n' % (b"0" * 400))
    ),
    "half a block": tells(RESET, began("g1/r1", b="AAAAAA")),
    "blocks that are not base64": tells(RESET, began("g1/r1", b="€" * 11)),
    "a request that is open already": tells(RESET, began("g1/r1"), began("g1/r1")),
}


@pytest.mark.parametrize("script", NOT_A_FEED.values(), ids=NOT_A_FEED.keys())
async def test_an_engine_that_talks_nonsense_is_left_and_asked_again(
    engine: FeedEngine, soon: None, script: Callable[[Connection], None]
) -> None:
    notes = Notes()
    async with following(notes, engine.replica()):
        connection = await engine.accepted()
        script(connection)
        await connection.left()
        begins = len(notes.told)
        await engine.follower()
        await until(lambda: notes.told[begins:] == [("reset", "r0")])


async def test_more_requests_than_an_engine_has_are_not_believed(
    engine: FeedEngine, soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.gateway.feed_account.MAX_OPEN", 10)
    notes = Notes()
    async with following(notes, engine.replica()):
        connection = await engine.follower()
        connection.tell(*(event for number in range(20) for event in (began(f"g1/{number}"), ended(f"g1/{number}"))))
        connection.tell(*(began(f"g1/{number}") for number in range(20)))
        await connection.left()
        assert len(notes.told) == 1 + 40 + 10


@pytest.mark.parametrize(
    "says",
    [b"", b"HTTP/1.1 200", HEAD, body(b'{"e":"reset"}\n{"e')],
    ids=["nothing", "half a head", "a head", "a line and a half"],
)
async def test_a_silent_engine_is_left(
    engine: FeedEngine, soon: None, monkeypatch: pytest.MonkeyPatch, says: bytes
) -> None:
    monkeypatch.setattr(feed, "SILENCE_S", 0.05)
    async with following(Notes(), engine.replica()):
        connection = await engine.accepted()
        connection.write(says)
        await connection.left()
        await engine.accepted()


async def test_an_engine_that_never_ends_a_line_counts_as_silent(
    engine: FeedEngine, soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "SILENCE_S", 0.05)
    async with following(Notes(), engine.replica()):
        connection = await engine.follower()
        leaving = asyncio.create_task(connection.left())
        while not leaving.done():
            connection.write(b"1\r\na\r\n")
            await asyncio.sleep(0.005)
        await leaving


async def test_an_engine_without_a_feed_is_asked_seldom(engine: FeedEngine, soon: None) -> None:
    notes = Notes()
    async with feed_engine() as other, following(notes, engine.replica("old"), other.replica("new")):
        (await engine.accepted()).write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}")
        for _ in range(10):
            (await other.accepted()).writer.transport.abort()
        assert engine.connections == 1


async def test_an_engine_without_a_feed_is_asked_again(
    engine: FeedEngine, soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "NO_SUCH_ROUTE_RETRY_S", 0.001)
    notes = Notes()
    async with following(notes, engine.replica()):
        (await engine.accepted()).write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
        await engine.follower()
        await until(lambda: notes.told == [("reset", "r0")])


async def test_an_engine_that_keeps_failing_is_asked_less_and_less(
    engine: FeedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "FIRST_RETRY_S", 0.01)
    monkeypatch.setattr(feed, "LAST_RETRY_S", 0.04)
    now_s, came_s = asyncio.get_running_loop().time, []
    async with following(Notes(), engine.replica()):
        for _ in range(8):
            connection = await engine.follower()
            came_s.append(now_s())
            connection.writer.transport.abort()
    assert all(later - earlier >= 0.02 for earlier, later in list(pairwise(came_s))[3:])


async def test_one_replica_that_is_away_does_not_hide_the_others(engine: FeedEngine) -> None:
    notes = Notes()
    async with feed_engine() as away, following(notes, away.replica("away"), engine.replica("here")) as feeds:
        away.kill()
        broken = ReplicaInfo("broken", "http://127.0.0.1:none", "t", 8, 4096)
        feeds.watch(MODEL, [broken, away.replica("away"), engine.replica("here")])
        await engine.follower()
        await until(lambda: ("reset", "here") in notes.told)


async def test_watching_the_same_replica_again_changes_nothing(engine: FeedEngine) -> None:
    notes = Notes()
    async with following(notes, engine.replica()) as feeds:
        connection = await engine.follower()
        feeds.watch(MODEL, [engine.replica()])
        feeds.watch(MODEL, [engine.replica(is_leaving=True)])
        feeds.watch("another", [])
        connection.tell(began("g1/r1"))
        await until(lambda: len(notes.told) == 2)
        assert engine.connections == 1


async def test_a_replica_with_a_new_token_is_asked_anew(engine: FeedEngine) -> None:
    async with following(Notes(), engine.replica()) as feeds:
        connection = await engine.follower()
        feeds.watch(MODEL, [engine.replica(token=TOKEN)])
        await connection.left()
        assert token_now(TOKEN) in (await engine.accepted()).request


async def test_of_a_replica_that_is_gone_nothing_more_is_told(engine: FeedEngine) -> None:
    notes, tasks = Notes(), asyncio.all_tasks()
    async with feed_engine() as other, following(notes, engine.replica("gone"), other.replica("stays")) as feeds:
        gone, stays = await engine.follower(), await other.follower()
        await until(lambda: len(notes.heard_of) == 2)
        gone.tell(began("g1/r1"))
        stays.tell(began("g1/r2"))
        feeds.watch(MODEL, [other.replica("stays")])
        await gone.left()
        await until(lambda: len(notes.told) == 3)
        assert notes.told[2][:3] == ("began", "stays", "g1/r2")
        assert sum("Follower.run" in str(task) for task in asyncio.all_tasks() - tasks) == 1


async def test_after_close_nothing_runs_and_nothing_starts(engine: FeedEngine) -> None:
    tasks, notes = asyncio.all_tasks(), Notes()
    async with feed_engine() as silent, feed_engine() as away:
        away.kill()
        replicas = [engine.replica("r0"), silent.replica("r1"), away.replica("r2")]
        async with following(notes, *replicas) as feeds:
            connection = await engine.follower()
            await silent.accepted()
        assert not any("Follower" in str(task) for task in asyncio.all_tasks() - tasks)
        await connection.left()
        feeds.watch(MODEL, replicas)
        await feeds.close()
        assert not any("Follower" in str(task) for task in asyncio.all_tasks() - tasks)


async def test_a_listener_that_fails_is_reported_and_the_feed_goes_on(
    engine: FeedEngine, soon: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = Notes()
    async with following(notes, engine.replica()):
        with monkeypatch.context() as patched:
            patched.setattr(notes, "other_ended", lambda *_: 1 / 0)
            connection = await engine.follower()
            connection.tell(ended("g1/r1"))
            await connection.left()
        (await engine.follower()).tell(ended("g1/r2"))
        await until(lambda: notes.told[-1] == ("ended", "r0", "g1/r2"))
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "m/r0" in record.message
    assert "ZeroDivisionError" in record.message


async def test_only_the_first_of_many_failures_is_logged(
    engine: FeedEngine, soon: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, feed.__name__)
    async with following(Notes(), engine.replica()):
        for _ in range(5):
            (await engine.follower()).writer.transport.abort()
        await engine.accepted()
    assert [record.levelname for record in caplog.records if record.name == feed.__name__] == ["INFO"]
    assert "secret" not in caplog.text


async def test_a_gateway_hears_of_anothers_request_on_a_whole_engine_and_not_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BARYON_INTERNAL_TOKEN", TOKEN)
    api = SimulatedApi(SimulatedEngine(get_profile("llama-3.1-8b-h100-tp1"), 8, 8192, 8), MODEL, 4096)
    own, other = Notes(), Notes()
    async with serving(RouteGuard(api.app())) as engine:
        replica = ReplicaInfo("r0", engine.url, TOKEN, 8, 4096)
        async with following(own, replica, gateway="g1"), following(other, replica, gateway="g2"):
            await until(lambda: own.told == other.told == [("reset", "r0")])
            dispatch = dispatch_header("g1", "req-1", 20, 10, (1, 2, 3)).decode()
            headers = {"x-baryon-internal-token": token_now(TOKEN).decode(), "x-baryon-dispatch": dispatch}
            async with httpx.AsyncClient(base_url=engine.url, headers=headers, trust_env=False) as http:
                await http.post("/v1/completions", json={"prompt": "Hi", "stream": True, "max_tokens": 4})
            await until(lambda: len(other.told) == 4)
            assert other.told[1:] == [
                ("began", "r0", "g1/req-1", 20, 10, (1, 2, 3)),
                ("first", "r0", "g1/req-1"),
                ("ended", "r0", "g1/req-1"),
            ]
            heard = len(own.heard_of)
            await until(lambda: len(own.heard_of) > heard)
            assert own.told == [("reset", "r0")]
