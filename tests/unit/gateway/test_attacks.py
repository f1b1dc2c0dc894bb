"""Attacks on the wire: requests that two servers would read differently, and clients that only want to hold on."""

import asyncio
from dataclasses import replace

import orjson
import pytest

from deployments.gateway.body_rules.shape import MOST_BRACKETS
from deployments.gateway.settings import GatewaySettings
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import MODEL, STREAMING, OpenStand, get, post
from tests.unit.gateway.scripted_engine import stream_then_stall, unary

BODY = orjson.dumps({"model": MODEL, "messages": []})
POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\n"
LENGTH = b"content-length: %d\r\n" % len(BODY)
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
CODED = b"transfer-encoding: %b\r\n\r\n" + CHUNKS
ONE_READ_BYTES = 256 * 1024
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"

READ_TWO_WAYS = {
    "chunks in HTTP/1.0": POST.replace(b"/1.1", b"/1.0") + CODED % b"chunked",
    "identity, then chunks": POST + CODED % b"identity, chunked",
    "gzip, then chunks": POST + CODED % b"gzip, chunked",
    "chunks, then identity": POST + CODED % b"chunked, identity",
    "nearly chunks": POST + CODED % b"xchunked",
    "quoted chunks": POST + CODED % b'"chunked"',
    "chunks behind a control character": POST + CODED % b"\x0bchunked",
    "a length in hex": POST + b"content-length: 0x24\r\n\r\n" + BODY,
    "a length in two words": POST + b"content-length: 3 6\r\n\r\n" + BODY,
    "no length": POST + b"content-length: \r\n\r\n" + BODY,
    "a negative length": POST + b"content-length: -1\r\n\r\n" + BODY,
    "a length in a trailer": CHUNKED + CHUNKS[:-2] + b"content-length: 5\r\n\r\n",
    "line feeds only": (POST + LENGTH + b"\r\n").replace(b"\r\n", b"\n") + BODY,
    "carriage returns only": (POST + LENGTH + b"\r\n").replace(b"\r\n", b"\r") + BODY,
    "a carriage return in a header": POST + b"x: a\rb: c\r\n" + LENGTH + b"\r\n" + BODY,
    "a header that begins with a space": POST + b" x: y\r\n" + LENGTH + b"\r\n" + BODY,
    "a header without a colon": POST + b"abc\r\n" + LENGTH + b"\r\n" + BODY,
    "a header without a name": POST + b": c\r\n" + LENGTH + b"\r\n" + BODY,
    "a header with a bracket in its name": POST + b"a(b: c\r\n" + LENGTH + b"\r\n" + BODY,
    "a space in the target": b"POST /v1/chat /completions HTTP/1.1\r\nhost: g\r\n\r\n",
    "a tab before the version": b"GET /health\tHTTP/1.1\r\nhost: g\r\n\r\n",
    "a method in lower case": b"get /health HTTP/1.1\r\nhost: g\r\n\r\n",
    "no version": b"GET /health\r\n\r\n",
    "a version that is another protocol": b"GET /health HTTP/2.0\r\nhost: g\r\n\r\n",
    "a version there is not": b"GET /health HTTP/1.2\r\nhost: g\r\n\r\n",
    "a chunk size with a prefix": CHUNKED + b"0x24\r\n" + BODY,
    "a chunk size and a space": CHUNKED + b"24 \r\n" + BODY,
    "a chunk size beyond 64 bits": CHUNKED + b"FFFFFFFFFFFFFFFFF\r\n" + BODY,
    "a chunk size that ends in a line feed": CHUNKED + b"24\n" + BODY,
    "a line feed in a chunk extension": CHUNKED + b"24;a\nb\r\n" + BODY,
    "a chunk without its end": CHUNKED + b"%x\r\n%b0\r\n\r\n" % (len(BODY), BODY),
    "HTTP/2 prior knowledge": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00",
    "h2c": b"GET /health HTTP/1.1\r\nhost: g\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\n\r\n",
    "a path for a host": b"GET /health HTTP/1.1\r\nhost: g/v1\r\n\r\n",
    "a query for a host": b"GET /health HTTP/1.1\r\nhost: g?x\r\n\r\n",
    "a fragment for a host": b"GET /health HTTP/1.1\r\nhost: g#x\r\n\r\n",
    "a user for a host": b"GET /health HTTP/1.1\r\nhost: a@b\r\n\r\n",
    "two hosts in one": b"GET /health HTTP/1.1\r\nhost: a, b\r\n\r\n",
}


@pytest.mark.parametrize("raw", list(READ_TWO_WAYS.values()), ids=list(READ_TWO_WAYS))
async def test_a_request_that_servers_read_differently_is_refused_and_the_connection_closed(
    start_engine: StartEngine, open_stand: OpenStand, raw: bytes
) -> None:
    engine = await start_engine(unary(b"{}"))
    gateway = await open_stand(engine)
    client = await gateway.client()
    client.send(raw)
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    client.send(get("/health"))
    assert await client.closed(), "what follows is never read as a request"
    assert not engine.exchanges or b"\x00" in raw


async def test_a_trailer_is_not_a_header(start_engine: StartEngine, open_stand: OpenStand) -> None:
    gateway = await open_stand(await start_engine(unary(b"{}")))
    trailers = b"x-request-id: mine\r\nx-baryon-explain: 1\r\nauthorization: Bearer x\r\nhost: h\r\n\r\n"
    answer = await gateway.ask(CHUNKED + CHUNKS[:-2] + trailers)
    assert answer.status == 200
    assert "x-client-request-id" not in answer.headers
    assert "x-baryon-route" not in answer.headers


@pytest.mark.parametrize(
    "header", ["x-original-url: /health", "x-rewrite-url: /health", "x-forwarded-prefix: /health", "host: /health"]
)
async def test_no_header_says_what_the_path_is(open_stand: OpenStand, header: str) -> None:
    gateway = await open_stand()
    assert (await gateway.ask(get("/nowhere", header + "\r\n").replace(b"host: gateway\r\n", b"", 1))).status in (
        400,
        404,
    )


async def test_no_header_says_what_the_method_is(open_stand: OpenStand) -> None:
    gateway = await open_stand()
    for name in ("x-http-method-override", "x-http-method", "x-method-override"):
        assert (await gateway.ask(get("/v1/chat/completions", f"{name}: POST\r\n"))).status == 405


async def test_a_body_that_looks_like_a_request_is_a_body(open_stand: OpenStand) -> None:
    gateway = await open_stand()
    inner = get("/smuggled")
    client = await gateway.client()
    client.send(get("/health", f"content-length: {len(inner)}\r\n") + inner + get("/v1/models"))
    assert (await client.answer()).json()["status"] == "ok"
    assert (await client.answer()).json()["object"] == "list"


async def test_none_of_a_clients_headers_reach_an_engine(start_engine: StartEngine, open_stand: OpenStand) -> None:
    engine = await start_engine(unary(b"{}"))
    gateway = await open_stand(engine)
    headers = (
        "authorization: Bearer a-key\r\ncookie: a=b\r\nx-baryon-internal-token: guessed\r\n"
        "x-baryon-dispatch: forged\r\nx-baryon-tenant: another\r\n"
        "x-forwarded-for: 127.0.0.1\r\nforwarded: for=127.0.0.1\r\nx-data-parallel-rank: 1\r\n"
        "x-session-id: s\r\ncontent-encoding: identity\r\nx-request-id: mine\r\n"
    )
    assert (await gateway.ask(post(headers=headers))).status == 200
    (exchange,) = engine.exchanges
    names = {line.split(b":")[0] for line in exchange.head.split(b"\r\n")[1:] if line}
    assert names == {b"host", b"content-type", b"content-length", b"x-request-id"} | {
        b"x-baryon-internal-token",
        b"x-baryon-dispatch",
        b"x-baryon-tenant",
    }
    for theirs in (b"a-key", b"guessed", b"forged", b"mine"):
        assert theirs not in exchange.head


async def test_a_client_that_sends_and_never_reads_is_not_buffered_for(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await open_stand(await start_engine(unary(b"x" * 1_000_000)))
    client = await gateway.client()
    client.reader._transport.pause_reading()  # type: ignore[attr-defined]
    client.send(post() * 5000)
    await asyncio.sleep(0.3)
    (connection,) = gateway.gateway._connections
    assert len(connection._queue) * len(post()) <= 2 * ONE_READ_BYTES
    assert connection._transport.get_write_buffer_size() < 4_000_000
    assert not connection._transport.is_reading()


async def test_slow_connections_end_and_do_not_keep_others_waiting(open_stand: OpenStand) -> None:
    gateway = await open_stand(settings=GatewaySettings(request_timeout_s=1.5))
    slow = [await gateway.client() for _ in range(200)]
    for client in slow:
        client.send(POST + b"content-length: 100\r\n\r\n{")
    for _ in range(4):
        assert (await gateway.ask(get("/health"))).status == 200
        for client in slow:
            client.send(b" ")
        await asyncio.sleep(0.05)
    assert {(await client.answer()).status for client in slow} == {408}


async def test_a_flood_of_connections_keeps_nobody_out_and_ends_no_answer(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await open_stand(await start_engine(stream_then_stall(b"data: 1\n\n")))
    gateway.gateway._connections.most = 20
    streams = [await gateway.client() for _ in range(5)]
    for client in streams:
        client.send(post(body=STREAMING))
        await client.head()
    flood = [await gateway.client() for _ in range(100)]
    for client in flood[::2]:
        client.send(POST + b"content-length: 100\r\n\r\n{")
    assert (await gateway.ask(get("/health"))).status == 200
    assert len(gateway.gateway._connections) <= 20
    assert all([await client.closed() for client in flood[:80]])
    assert [await client.chunk() for client in streams] == [b"data: 1\n\n"] * 5


async def test_who_comes_when_all_connections_are_answered_on_is_turned_away(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await open_stand(await start_engine(stream_then_stall(b"data: 1\n\n")))
    gateway.gateway._connections.most = 2
    streams = [await gateway.client() for _ in range(2)]
    for client in streams:
        client.send(post(body=STREAMING))
        await client.head()
    assert await (await gateway.client()).closed()
    assert [await client.chunk() for client in streams] == [b"data: 1\n\n"] * 2
    streams[0].leave()
    async with asyncio.timeout(8):
        while len(gateway.gateway._connections) > 1:
            await asyncio.sleep(0.005)
    assert (await gateway.ask(get("/health"))).status == 200


async def test_a_stream_that_an_engine_forgets_ends(start_engine: StartEngine, open_stand: OpenStand) -> None:
    gateway = await open_stand(
        await start_engine(stream_then_stall(b"data: 1\n\n")), settings=GatewaySettings(idle_stream_timeout_s=0.1)
    )
    answer = await gateway.ask(post(body=STREAMING))
    assert not answer.whole
    await gateway.settled()


PAGE = "origin: https://evil.example\r\n"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:8000", "file://", "*", ""])
async def test_a_web_page_may_not_call_unless_it_is_allowed_to(
    start_engine: StartEngine, open_stand: OpenStand, origin: str
) -> None:
    engine = await start_engine(unary(b"{}"))
    gateway = await open_stand(engine, settings=GatewaySettings(cors_origins=["https://good.example"]))
    answer = await gateway.ask(post(headers=f"origin: {origin}\r\ncontent-type: text/plain\r\n"))
    assert (answer.status, answer.error["code"]) == (403, "origin_not_allowed")
    assert "access-control-allow-origin" not in answer.headers
    assert not engine.exchanges


async def test_by_default_no_page_may(open_stand: OpenStand) -> None:
    gateway = await open_stand()
    preflight = get("/v1/models", PAGE + "access-control-request-method: GET\r\n", method="OPTIONS")
    assert (await gateway.ask(preflight)).status == 403
    assert (await gateway.ask(get("/v1/models", PAGE))).status == 403


@pytest.mark.parametrize("allowed", [["https://good.example"], ["*"]])
async def test_an_allowed_page_asks_first_and_then_calls(
    start_engine: StartEngine, open_stand: OpenStand, allowed: list[str]
) -> None:
    gateway = await open_stand(await start_engine(unary(b"{}")), settings=GatewaySettings(cors_origins=allowed))
    page = "origin: https://good.example\r\n"
    asking = "access-control-request-method: POST\r\naccess-control-request-headers: authorization,x-stainless-os\r\n"
    client = await gateway.client()
    client.send(get("/v1/chat/completions", page + asking, method="OPTIONS"))
    preflight = await client.answer()
    assert preflight.status == 200
    assert preflight.headers["access-control-allow-origin"] == "https://good.example"
    assert preflight.headers["access-control-allow-headers"] == "authorization,x-stainless-os"
    assert "access-control-allow-credentials" not in preflight.headers
    for raw, status in ((post(headers=page), 200), (post(body=b"{", headers=page), 400), (get("/no", page), 404)):
        client.send(raw)
        answer = await client.answer()
        assert (answer.status, answer.headers["vary"]) == (status, "origin")
        assert answer.headers["access-control-allow-origin"] == "https://good.example"
    client.send(get("/v1/chat/completions", page, method="OPTIONS"))
    assert (await client.answer()).status == 405, "that was no preflight"


async def test_origins_change_while_a_connection_is_open(open_stand: OpenStand) -> None:
    gateway = await open_stand()
    client = await gateway.client()
    client.send(get("/health", PAGE))
    assert (await client.answer()).status == 403
    gateway.gateway.settings = replace(gateway.gateway.settings, cors_origins=["https://evil.example"])
    client.send(get("/health", PAGE))
    assert (await client.answer()).status == 200


TOKENS_IN = {"model": MODEL, "token_ids": [1, 2], "sampling_params": {"max_tokens": 1}}


@pytest.mark.parametrize(
    "path",
    ["/inference/v1/generate", "/inference/v1/generate/", "//inference/v1/generate", "/inference%2Fv1/generate"],
)
@pytest.mark.parametrize("method", [b"POST", b"GET"])
async def test_what_gateways_ask_of_engines_does_not_exist_for_clients(
    start_engine: StartEngine, open_stand: OpenStand, path: str, method: bytes
) -> None:
    engine = await start_engine(unary(b"{}"))
    gateway = await open_stand(engine)
    answer = await gateway.ask(post(path, TOKENS_IN).replace(b"POST", method, 1))
    assert (answer.status, answer.error["code"]) == (404, "unknown_url")
    assert not engine.exchanges


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/recipes/answer"])
@pytest.mark.parametrize("part", [b"[],", b'{"a":1},'])
async def test_millions_of_parts_are_refused_before_they_are_read(
    start_engine: StartEngine, open_stand: OpenStand, path: str, part: bytes
) -> None:
    """Seconds in which nobody else would be answered."""
    gateway = await open_stand(await start_engine(unary(b"{}")))
    body = b'{"messages": [' + part * (MOST_BRACKETS + 1) + b"0]}"
    head = f"POST {path} HTTP/1.1\r\nhost: g\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    answer = await gateway.ask(head + body)
    assert (answer.status, answer.error["code"]) == (400, "too_many_parts")
