"""Every limit of the client's side has an answer, and no request is read two ways."""

import asyncio

import pytest

from deployments.gateway.settings import GatewaySettings
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import OpenStand, Stand, get, post
from tests.unit.gateway.scripted_engine import unary

POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"
SMALL = GatewaySettings(max_body_bytes=1000, max_head_bytes=2000)


async def refusal(gateway: Stand, *pieces: bytes) -> tuple[int, str]:
    """The status and code of the answer, after which the connection must end."""
    client = await gateway.client()
    for piece in pieces:
        client.send(piece)
        await asyncio.sleep(0.01)
    answer = await client.answer()
    assert answer.headers["connection"] == "close"
    assert await client.closed()
    return answer.status, answer.error["code"]


async def test_a_body_declared_too_large_is_413_before_it_is_sent(open_stand: OpenStand) -> None:
    gateway = await open_stand(settings=SMALL)
    assert await refusal(gateway, POST + b"content-length: 1001\r\n\r\n") == (413, "request_too_large")


async def test_a_chunked_body_is_413_as_soon_as_it_is_too_large(open_stand: OpenStand) -> None:
    gateway = await open_stand(settings=SMALL)
    chunk = b"1f4\r\n" + b"x" * 500 + b"\r\n"
    assert await refusal(gateway, CHUNKED, chunk, chunk, chunk) == (413, "request_too_large")


async def test_a_client_still_sending_a_body_too_large_can_read_the_413(open_stand: OpenStand) -> None:
    gateway = await open_stand()
    client = await gateway.client()
    client.send(POST + b"content-length: 50000000\r\n\r\n" + b"x" * 50_000_000)
    await asyncio.wait_for(client.writer.drain(), 8)
    assert (await client.answer()).status == 413
    assert await client.closed()


async def test_a_body_of_exactly_the_limit_is_read(open_stand: OpenStand) -> None:
    gateway = await open_stand(settings=SMALL)
    assert (await gateway.ask(post(body=b" " * 1000))).error["code"] == "invalid_json"


@pytest.mark.parametrize("size", [1, 7, 400])
async def test_a_chunked_body_reaches_the_engine_whole(
    start_engine: StartEngine, open_stand: OpenStand, size: int
) -> None:
    engine = await start_engine(unary(b"{}"))
    gateway = await open_stand(engine)
    body = post().partition(b"\r\n\r\n")[2]
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    raw = CHUNKED + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    assert (await gateway.ask(raw)).status == 200
    assert engine.exchanges[0].body == body


@pytest.mark.parametrize(
    "sent", [b"P", POST, POST + b"content-length: 10\r\n\r\n{", CHUNKED + b"5\r\n", CHUNKED + b"0\r\n"]
)
async def test_a_request_that_does_not_arrive_in_time_is_408(open_stand: OpenStand, sent: bytes) -> None:
    gateway = await open_stand(settings=GatewaySettings(request_timeout_s=0.15))
    assert await refusal(gateway, sent) == (408, "request_timeout")


async def test_a_byte_now_and_then_does_not_buy_time(open_stand: OpenStand) -> None:
    gateway = await open_stand(settings=GatewaySettings(request_timeout_s=0.2))
    client = await gateway.client()
    for byte in POST:
        client.send(bytes([byte]))
        await asyncio.sleep(0.02)
        if client.reader._buffer:  # type: ignore[attr-defined]
            break
    assert (await client.answer()).status == 408


async def test_a_half_sent_second_request_has_the_same_time_as_a_first(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await open_stand(await start_engine(unary(b"{}")), settings=GatewaySettings(request_timeout_s=0.15))
    client = await gateway.client()
    client.send(post() + POST)
    assert (await client.answer()).status == 200
    assert (await client.answer()).status == 408


async def test_a_silent_connection_is_closed_without_a_word(open_stand: OpenStand) -> None:
    gateway = await open_stand(settings=GatewaySettings(request_timeout_s=0.1, keep_alive_s=0.1))
    assert await (await gateway.client()).closed()
    used = await gateway.client()
    used.send(get("/health"))
    await used.answer()
    assert await used.closed()


FLOODS = {
    "one long header at once": [POST + b"x: " + b"a" * 3000],
    "one long header": [POST + b"x: " + b"a" * 3000 + b"\r\n\r\n"],
    "a header without an end": [POST + b"x: ", *[b"a" * 500] * 6],
    "a target without an end": [b"GET /", *[b"a" * 500] * 6],
    "101 headers": [POST + b"".join(b"h%d: 1\r\n" % n for n in range(100)) + b"\r\n"],
    "a trailer without an end": [CHUNKED + b"0\r\nx: ", *[b"a" * 500] * 6],
    "101 trailers": [CHUNKED + b"0\r\n" + b"".join(b"h%d: 1\r\n" % n for n in range(101)) + b"\r\n"],
    "chunk extensions without an end": [CHUNKED + b"5;", *[b"a" * 500] * 6],
}


@pytest.mark.parametrize("pieces", list(FLOODS.values()), ids=list(FLOODS))
async def test_a_flood_of_headers_is_431(open_stand: OpenStand, pieces: list[bytes]) -> None:
    gateway = await open_stand(settings=SMALL)
    assert await refusal(gateway, *pieces) == (431, "headers_too_large")


@pytest.mark.parametrize("at", [1, 100, 1000, 1500])
async def test_where_a_head_is_split_does_not_decide_whether_it_is_too_large(open_stand: OpenStand, at: int) -> None:
    gateway = await open_stand(settings=SMALL)
    raw = get("/health", "x: " + "a" * 1700 + "\r\n")
    client = await gateway.client()
    client.send(raw[:at])
    await asyncio.sleep(0.02)
    client.send(raw[at:])
    assert (await client.answer()).status == 200


async def test_large_pipelined_bodies_do_not_count_as_headers(start_engine: StartEngine, open_stand: OpenStand) -> None:
    body = post().partition(b"\r\n\r\n")[2] + b" " * 100_000
    gateway = await open_stand(await start_engine(unary(b"{}")))
    client = await gateway.client()
    client.send(post(body=body) * 6)
    assert [(await client.answer()).status for _ in range(6)] == [200] * 6


SMUGGLING = {
    "content-length and transfer-encoding": POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "transfer-encoding and content-length": POST + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    "two equal content-lengths": POST + b"content-length: 2\r\ncontent-length: 2\r\n\r\n{}",
    "two content-lengths": POST + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "a list of content-lengths": POST + b"content-length: 2, 2\r\n\r\n{}",
    "a signed content-length": POST + b"content-length: +2\r\n\r\n{}",
    "an endless content-length": POST + b"content-length: 99999999999999999999999\r\n\r\n{}",
    "two transfer-encodings": POST + b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
    "an unknown transfer-encoding": POST + b"transfer-encoding: gzip\r\n\r\n{}",
    "a space before a colon": POST + b"content-length : 2\r\n\r\n{}",
    "a folded header": POST + b"x: a\r\n b\r\ncontent-length: 2\r\n\r\n{}",
    "a bare line feed in a header": POST + b"x: a\nb: c\r\n\r\n",
    "a NUL in a header": POST + b"x: a\0b\r\n\r\n",
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /health HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
    "a chunk size that is no number": CHUNKED + b"zz\r\n",
    "a negative chunk size": CHUNKED + b"-1\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a tunnel": b"CONNECT engine:80 HTTP/1.1\r\nhost: g\r\n\r\n",
    "an upgrade": b"GET /health HTTP/1.1\r\nhost: g\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    "an upgrade with a body": POST + b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("raw", list(SMUGGLING.values()), ids=list(SMUGGLING))
async def test_a_request_that_can_be_read_two_ways_is_one_400(
    start_engine: StartEngine, open_stand: OpenStand, raw: bytes
) -> None:
    engine = await start_engine(unary(b"{}"))
    gateway = await open_stand(engine)
    status, _ = await refusal(gateway, raw)
    assert status == 400
    assert not engine.exchanges
