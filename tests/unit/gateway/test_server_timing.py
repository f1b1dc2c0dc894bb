"""`Server-Timing`: where a request's time went, on every answer."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from deployments.gateway.settings import GatewaySettings
from deployments.gateway.tenants.tenant import Tenant
from tests.benchmarks.gateway_cpu import free_port, running
from tests.unit.gateway.conftest import StartEngine
from tests.unit.gateway.harness import STREAMING, OpenStand, get, post
from tests.unit.gateway.keys import keyring_of, new_key
from tests.unit.gateway.scripted_engine import stream, unary
from tests.unit.gateway.test_request_record import DONE, NUMBERS, STREAMED, TOKEN

SECRET = "test"
TIMED = "x-baryon-timing: 1\r\n"
OURS = ["auth", "read", "queue", "route", "connect"]
ENGINES = ["engine_queue", "prefill", "decode", "transfer"]


def stages(header: str) -> dict[str, float]:
    """Name to milliseconds."""
    return {name: float(ms) for name, ms in (part.split(";dur=") for part in header.split(", "))}


async def test_a_whole_answer_has_the_engines_stages_in_its_head(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await open_stand(await start_engine(unary(b"{" + NUMBERS)))
    told = stages((await gateway.ask(post())).headers["server-timing"])
    assert list(told) == OURS + ENGINES
    assert (told["engine_queue"], told["prefill"], told["decode"]) == (1.5, 4.5, 2.0)


async def test_an_answer_whose_engine_does_not_tell_has_its_time_in_one_stage(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await open_stand(await start_engine(unary(b"{}")))
    assert list(stages((await gateway.ask(post())).headers["server-timing"])) == [*OURS, "engine"]


async def test_the_head_of_a_stream_tells_up_to_its_first_token_and_the_rest_comes_last_if_asked_for(
    start_engine: StartEngine, open_stand: OpenStand
) -> None:
    gateway = await open_stand(await start_engine(stream(*STREAMED)))
    answer = await gateway.ask(post(body=STREAMING, headers=TIMED))
    assert list(stages(answer.headers["server-timing"])) == [*OURS, "engine"]
    before, _, comment = answer.body.partition(b": server-timing ")
    line, _, rest = comment.partition(b"\n\n")
    assert (before, rest) == (TOKEN * 3, DONE)
    assert list(stages(line.decode())) == OURS + ENGINES
    assert (await gateway.ask(post(body=STREAMING))).body == TOKEN * 3 + DONE


async def test_both_comments_come_if_both_are_asked_for(start_engine: StartEngine, open_stand: OpenStand) -> None:
    gateway = await open_stand(await start_engine(stream(*STREAMED)))
    answer = await gateway.ask(post(body=STREAMING, headers=TIMED + "x-baryon-explain: 1\r\n"))
    comments = [line[:16] for line in answer.body.split(b"\n\n") if line.startswith(b":")]
    assert comments == [b': baryon {"repli', b": server-timing "]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/v1/models"), 200),
        (get("/health"), 200),
        (get("/nothing"), 404),
        (get("/v1/chat/completions"), 405),
        (post(body=b"{"), 400),
        (post(body={"model": "gpt"}), 404),
        (post(body=b" " * 5001), 413),
        (post(), 503),
        (b"POST /v1/chat/completions HTTP/1.1\r\n\r\n", 400),
    ],
)
async def test_every_answer_has_it(open_stand: OpenStand, request_: bytes, status: int) -> None:
    answer = await (await open_stand(settings=GatewaySettings(max_body_bytes=5000))).ask(request_)
    assert answer.status == status
    assert "auth" in stages(answer.headers["server-timing"])


async def test_whoever_is_not_let_in_is_told_too(open_stand: OpenStand) -> None:
    gateway = await open_stand(keyring=keyring_of({new_key(): Tenant("acme")}))
    for request in (post(), get("/v1/models")):
        answer = await gateway.ask(request)
        assert answer.status == 401
        assert "auth" in stages(answer.headers["server-timing"])


@contextmanager
def gateway_process() -> Iterator[str]:
    """A gateway and a simulated engine, each a process."""
    engine_port, port = free_port(), free_port()
    engine = [sys.executable, "-m", "engine.simulated", "--model", "m", "--port", str(engine_port)]
    gateway = [sys.executable, "-m", "tests.benchmarks.lone_gateway", str(port), f"http://127.0.0.1:{engine_port}"]
    with (
        running([*engine, "--profile", "llama-3.1-8b-h100-tp1"], engine_port),
        running([*gateway, SECRET], port),
    ):
        yield f"http://127.0.0.1:{port}"


@pytest.mark.slow
@pytest.mark.parametrize("streams", [False, True])
def test_the_stages_add_up_to_what_a_client_waits(monkeypatch: pytest.MonkeyPatch, *, streams: bool) -> None:
    """The closest of seven: a client that is kept from reading waits longer than its answer took."""
    monkeypatch.setenv("BARYON_INTERNAL_TOKEN", SECRET)
    body = {"model": "m", "prompt": "hadron " * 2000, "max_tokens": 120, "stream": streams}
    off_by, transfer = [], []
    with gateway_process() as url, httpx.Client(base_url=url, headers={"x-baryon-timing": "1"}) as client:
        client.get("/health")
        for _ in range(7):
            began_s = time.perf_counter()
            answer = client.post("/v1/completions", json=body, timeout=60)
            e2e_ms = (time.perf_counter() - began_s) * 1000
            comment = answer.text.partition(": server-timing ")[2].partition("\n")[0]
            told = stages(comment if streams else answer.headers["server-timing"])
            assert list(told) == OURS + ENGINES
            off_by.append(abs(sum(told.values()) - e2e_ms) / e2e_ms)
            transfer.append(told["transfer"] / e2e_ms)
    assert min(off_by) < 0.05, off_by
    assert min(transfer) < 0.05, transfer
