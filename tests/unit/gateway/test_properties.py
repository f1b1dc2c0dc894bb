"""What holds for any input."""

import asyncio
import contextlib
import json
import subprocess
import sys
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.gateway.errors import GatewayError
from deployments.gateway.request import InferenceRequest, read_inference_request
from deployments.gateway.routing.choice import Candidate, choose
from deployments.gateway.routing.ledger import Ledger
from deployments.gateway.settings import GatewaySettings
from tests.unit.gateway.harness import get, post, stand

requests = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 10_000), st.integers(0, 99)), max_size=40)


@settings(deadline=None)
@given(requests)
def test_the_ledger_is_never_negative_and_ends_at_zero(opened: list[tuple[str, int, int]]) -> None:
    ledger = Ledger()
    for replica, tokens, _ in opened:
        ledger.open(replica, tokens)
    left = sorted(opened, key=lambda request: request[2])
    while left:
        assert ledger.total_requests() == len(left)
        for replica in "abc":
            mine = [tokens for name, tokens, _ in left if name == replica]
            assert ledger.on(replica) == (len(mine), sum(mine))
        replica, tokens, _ = left.pop()
        ledger.close(replica, tokens)
    assert ledger.total_requests() == 0
    assert all(ledger.on(replica) == (0, 0) for replica in "abc")


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=8), st.integers())
def test_the_choice_is_always_among_the_least_loaded(loads: list[tuple[int, int]], seed: int) -> None:
    candidates = [Candidate(str(n), tokens, requests) for n, (tokens, requests) in enumerate(loads)]
    chosen = choose(candidates, Random(seed))
    assert (chosen.in_flight_prompt_tokens, chosen.in_flight_requests) == min(loads)


@settings(deadline=None)
@given(st.integers(2, 5))
def test_every_one_of_the_least_loaded_is_chosen_sometimes(tied: int) -> None:
    random = Random(0)
    candidates = [Candidate(str(n), 0, 0) for n in range(tied)]
    assert {choose(candidates, random).replica_id for _ in range(200)} == {str(n) for n in range(tied)}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(["model", "stream", "background", "conversation", "previous_response_id", "x"])


def outcome(body: bytes) -> InferenceRequest | GatewayError:
    try:
        return read_inference_request(body)
    except GatewayError as error:
        return error


def is_request_or_error(body: bytes) -> bool:
    read = outcome(body)
    if isinstance(read, InferenceRequest):
        return read.prompt_tokens >= 1
    openai, anthropic = read.body(b"/v1/chat/completions"), read.body(b"/v1/messages")
    return read.status == 400 and openai.startswith(b'{"error":{') and anthropic.startswith(b'{"type":"error"')


@settings(deadline=None)
@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_a_request_or_an_error(body: bytes) -> None:
    assert is_request_or_error(body)


@settings(deadline=None)
@given(st.dictionaries(fields, json_values, max_size=6))
def test_any_document_is_a_request_or_an_error(document: dict[str, object]) -> None:
    body = json.dumps(document).encode()
    assert is_request_or_error(body)
    read = outcome(body)
    if isinstance(read, InferenceRequest):
        assert read.model == document["model"]
        assert read.stream is bool(document.get("stream"))
        assert read.prompt_tokens >= 1


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
    async with stand({}, 8, GatewaySettings()) as gateway:
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
