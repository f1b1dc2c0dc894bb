"""What holds for any input."""

import asyncio
import contextlib
import json
import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.gateway.body_rules.fields import REFUSED, ROUTES
from deployments.gateway.errors import GatewayError
from deployments.gateway.request import InferenceRequest, inference_request, read_document
from deployments.gateway.routing.ledger import Dispatch, Ledger
from deployments.gateway.settings import GatewaySettings
from tests.unit.gateway.harness import get, post, stand

events = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(1, 10_000), st.integers(0, 2), st.booleans()), max_size=40
)


@settings(deadline=None)
@given(events)
def test_the_ledger_is_never_negative_and_ends_at_zero(opened: list[tuple[str, int, int, bool]]) -> None:
    ledger, open_now, at_ms = Ledger(), [], 0.0
    for replica, tokens, moves, is_ours in opened:
        at_ms += tokens
        dispatch = Dispatch(replica, tokens, 0, tokens / 10, tokens, tokens, at_ms, at_ms + 50, is_ours=is_ours)
        ledger.open(dispatch)
        open_now.append(dispatch)
        for turn in range(moves):
            index = (tokens * (turn + 1)) % len(open_now)
            if open_now[index].first_token_ms is None:
                ledger.first_token(open_now[index], at_ms)
            else:
                ledger.close(open_now.pop(index), at_ms)
        assert ledger.total_requests() == sum(one.is_ours for one in open_now)
        for name in "abc":
            account, mine = ledger.account(name), [one for one in open_now if one.replica == name]
            load = account.load(at_ms, None)
            assert account.requests == len(mine)
            assert load.decoding_requests == sum(one.first_token_ms is not None for one in mine)
            assert load.resident_tokens == sum(one.resident_tokens for one in mine)
            assert load.queued_prefill_ms >= 0
    for dispatch in open_now:
        ledger.close(dispatch, at_ms)
    assert ledger.total_requests() == 0
    assert all(ledger.account(name).load(at_ms, None)[:5] == (0, 0, 0, 0, 0) for name in "abc")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from([*ROUTES[b"/v1/chat/completions"], *REFUSED, "background", "previous_response_id", "x"])


CHAT = b"/v1/chat/completions"


def outcome(body: bytes) -> InferenceRequest | GatewayError:
    try:
        document, _ = read_document(CHAT, body, GatewaySettings())
        return inference_request(CHAT, document, None)
    except GatewayError as error:
        return error


def is_request_or_error(body: bytes) -> bool:
    read = outcome(body)
    if isinstance(read, InferenceRequest):
        return read.prompt.size_bytes >= 0
    openai, anthropic = read.body(b"/v1/chat/completions"), read.body(b"/v1/messages")
    return read.status == 400 and openai.startswith(b'{"error":{') and anthropic.startswith(b'{"type":"error"')


@settings(deadline=None)
@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_a_request_or_an_error(body: bytes) -> None:
    assert is_request_or_error(body)


@settings(deadline=None)
@given(st.dictionaries(fields, json_values, max_size=6), st.booleans())
def test_any_document_is_a_request_or_an_error(document: dict[str, object], has_model: bool) -> None:
    document = {**document, "model": "m"} if has_model else document
    body = json.dumps(document).encode()
    assert is_request_or_error(body)
    read = outcome(body)
    if isinstance(read, InferenceRequest):
        assert read.model == document["model"]
        assert read.stream is bool(document.get("stream"))
        assert read.prompt.size_bytes >= 0


wire = st.lists(
    st.binary(max_size=60)
    | st.sampled_from(
        [
            b"\r\n",
            b"\r\n\r\n",
            b"0\r\n\r\n",
            b"GET /health HTTP/1.1\r\n",
            b"POST /v1/completions HTTP/1.0\r\n",
            b"transfer-encoding: chunked\r\n",
            b"content-length: 3\r\n",
            b"expect: 100-continue\r\n",
            b"connection: upgrade\r\nupgrade: h2c\r\n",
            b"connection: close\r\n",
            get("/v1/models", "connection: keep-alive\r\n", version="1.0"),
            get("/v1/models"),
            post(),
        ]
    ),
    max_size=8,
)


async def survives(conversations: list[list[bytes]]) -> None:
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    async with stand((), 8, GatewaySettings()) as gateway:
        for pieces in conversations:
            client = await gateway.client()
            for piece in pieces:
                client.send(piece)
                await asyncio.sleep(0)
            with contextlib.suppress(OSError):
                client.writer.write_eof()
            await client.closed()
            client.leave()
        assert (await gateway.ask(get("/health"))).status == 200
        await gateway.settled()
    assert not failures


@settings(max_examples=40, deadline=None)
@given(st.lists(wire, min_size=1, max_size=6))
def test_no_bytes_on_a_socket_stop_the_gateway(conversations: list[list[bytes]]) -> None:
    asyncio.run(survives(conversations))


def test_the_gateways_process_loads_no_engine() -> None:
    code = "import sys, deployments.gateway_deployment; print([m for m in ('torch', 'vllm') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
