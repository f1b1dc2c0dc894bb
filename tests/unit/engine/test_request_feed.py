"""What an engine tells each gateway of the others' requests."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine import request_feed
from engine.request_feed import MAX_DISPATCH_BYTES, RequestFeed, Subscription, Told, read_dispatch

BLOCK = b"AAAAAAAAAAA"


def header(gateway: str = "g1", key: str = "r1", blocks: bytes = BLOCK) -> bytes:
    return f"{gateway} {key} 100 40 ".encode() + blocks


def began(feed: RequestFeed, value: bytes) -> Told:
    told = feed.began(value)
    assert told is not None
    return told


async def heard(subscription: Subscription) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (await anext(subscription)).splitlines()]


async def test_a_request_is_told_when_it_begins_gets_its_first_byte_and_ends() -> None:
    feed = RequestFeed()
    subscription = feed.subscribe(b"g2")
    assert await heard(subscription) == [{"e": "reset"}]
    told = began(feed, header())
    assert await heard(subscription) == [{"e": "began", "k": "g1/r1", "p": 100, "h": 40, "b": BLOCK.decode()}]
    feed.first_byte(told)
    feed.first_byte(told)
    feed.ended(told)
    feed.ended(told)
    assert await heard(subscription) == [{"e": "first", "k": "g1/r1"}, {"e": "ended", "k": "g1/r1"}]


async def test_who_comes_later_is_told_of_what_is_open_and_how_far_it_is() -> None:
    feed = RequestFeed()
    over, decoding, _ = (began(feed, header(key=key)) for key in ("over", "decoding", "waiting"))
    feed.first_byte(decoding)
    feed.ended(over)
    reset, *others = await heard(feed.subscribe(b"g2"))
    assert reset == {"e": "reset"}
    assert [(other["k"], other.get("f", False)) for other in others] == [("g1/decoding", True), ("g1/waiting", False)]


async def test_a_gateway_is_not_told_of_its_own_requests() -> None:
    feed = RequestFeed()
    began(feed, header("g1", "before"))
    own, other = feed.subscribe(b"g1"), feed.subscribe(b"g2")
    feed.ended(began(feed, header("g1", "after")))
    began(feed, header("g2", "r1"))
    assert [line.get("k") for line in await heard(own)] == [None, "g2/r1"]
    assert [line.get("k") for line in await heard(other)] == [None, "g1/before", "g1/after", "g1/after"]


async def test_a_request_sent_again_replaces_the_first_and_ends_once() -> None:
    feed = RequestFeed()
    subscription = feed.subscribe(b"g2")
    first, again = began(feed, header()), began(feed, header())
    feed.first_byte(first)
    feed.ended(first)
    assert [line["e"] for line in await heard(subscription)] == ["reset", "began", "ended", "began"]
    feed.ended(again)
    assert await heard(subscription) == [{"e": "ended", "k": "g1/r1"}]


async def test_when_nothing_happens_the_engine_says_that_it_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_feed, "ALIVE_S", 0.01)
    feed = RequestFeed()
    subscription = feed.subscribe(b"g2")
    assert [await heard(subscription) for _ in range(3)] == [[{"e": "reset"}], [{"e": "alive"}], [{"e": "alive"}]]
    began(feed, header())
    assert [line["e"] for line in await heard(subscription)] == ["began"]


async def test_who_does_not_read_is_cut_off_and_costs_no_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_feed, "MAX_PENDING_BYTES", 1_000)
    feed = RequestFeed()
    slow, quick = feed.subscribe(b"slow"), feed.subscribe(b"quick")
    for number in range(100):
        feed.ended(began(feed, header(key=f"r{number}")))
        await anext(quick)
    assert slow.cut_off.done()
    assert not quick.cut_off.done()
    assert not slow._pending
    with pytest.raises(StopAsyncIteration):
        await anext(slow)


async def test_what_is_open_may_be_more_than_what_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_feed, "MAX_PENDING_BYTES", 1_000)
    feed = RequestFeed()
    for number in range(100):
        began(feed, header(key=f"r{number}"))
    subscription = feed.subscribe(b"g2")
    began(feed, header(key="last"))
    assert len(await heard(subscription)) == 102


async def test_who_left_is_told_nothing_and_others_go_on() -> None:
    feed = RequestFeed()
    left, stays = feed.subscribe(b"g2"), feed.subscribe(b"g3")
    left.close()
    left.close()
    began(feed, header())
    with pytest.raises(StopAsyncIteration):
        await anext(left)
    assert len(await heard(stays)) == 2


MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "a field too few": b"g1 r1 100 40",
    "a field too many": b"g1 r1 100 40 - -",
    "two spaces": b"g1  r1 100 40 -",
    "a quote in the key": b'g1 r"1 100 40 -',
    "a key of 65": b"g1 " + b"k" * 65 + b" 100 40 -",
    "no gateway": b" r1 100 40 -",
    "a sign": b"g1 r1 -100 40 -",
    "no number": b"g1 r1 1e3 40 -",
    "ten digits": b"g1 r1 1000000000 40 -",
    "a hit beyond the prompt": b"g1 r1 100 101 -",
    "half a block": b"g1 r1 100 40 AAAAAA",
    "padding": b"g1 r1 100 40 AAAAAAAAAAA=",
    "the other alphabet": b"g1 r1 100 40 AAAAAAAAAA+",
    "a line's end": b"g1 r1 100 40 -\n",
    "8 KiB and one": header(blocks=BLOCK).ljust(MAX_DISPATCH_BYTES + 1, b"A"),
}


@pytest.mark.parametrize("value", MALFORMED.values(), ids=MALFORMED.keys())
async def test_of_a_request_with_a_malformed_header_nobody_is_told(value: bytes) -> None:
    feed = RequestFeed()
    subscription = feed.subscribe(b"g2")
    assert feed.began(value) is None
    assert feed.began(None) is None
    assert await heard(subscription) == [{"e": "reset"}]


@given(st.binary(max_size=200) | st.from_regex(request_feed.DISPATCH, fullmatch=True))
@example(header())
def test_any_header_is_read_or_refused_and_what_is_read_makes_a_line_of_json(value: bytes) -> None:
    told = read_dispatch(value)
    if told is not None:
        line = told.began_line()
        assert line.count(b"\n") == 1
        assert json.loads(line)["k"] == f"{told.gateway.decode()}/{told.key.decode().partition('/')[2]}"


@pytest.mark.parametrize("gateway", [b"", b"a b", b"a/b", b"x" * 65, b"\xff", b"a\n"])
async def test_who_has_no_proper_id_cannot_listen(gateway: bytes) -> None:
    with pytest.raises(ValueError, match="id"):
        RequestFeed().subscribe(gateway)


async def test_a_waiting_gateway_hears_at_once() -> None:
    feed = RequestFeed()
    subscription = feed.subscribe(b"g2")
    await heard(subscription)
    waiting = asyncio.ensure_future(anext(subscription))
    await asyncio.sleep(0)
    began(feed, header())
    assert b"began" in await waiting
