"""Everything we rely on in vLLM still exists in the pinned version; the message says what moved."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster.run_folder import store_folder
from deployments.gateway.feed import dispatch_header
from deployments.gateway.stream_count import StreamCount
from deployments.gateway.usage import NO_CHOICES, UsageStripper, UsageWanted, read_usage
from deployments.replica import free_port
from engine.cpu import available_cores
from engine.engine_process import EngineProcess
from engine.failure import Failure
from engine.guard import COUNTED_ROUTES
from engine.health import HealthLimits, Observation
from engine.health_watch import failure_of
from engine.internal_token import token_now
from engine.launch import EngineLaunch
from engine.memory_budget import GIB
from engine.probe import RUNNING, STEPS, WAITING, EngineProbe
from engine.process_tree import is_alive
from engine.vllm_command import vllm_command
from engine.weights.source import parse_source
from engine.weights.store import ModelStore
from tests.benchmarks.gateway_cpu import running
from tests.unit.gateway.otlp_receiver import OtlpReceiver, receiving
from tests.unit.gateway.test_request_record import SECRET_WORDS
from tests.unit.gateway.test_server_timing import ENGINES, OURS, stages

pytestmark = pytest.mark.engine
TOKEN = {"x-baryon-internal-token": token_now("test").decode()}
MODEL = "tiny-random-llama"
MAX_MODEL_LEN = 8192
CHUNK_TOKENS = 128
EACH = {"include_usage": True, "continuous_usage_stats": True}


def test_the_snapshot_of_flags_is_vllms_own() -> None:
    script = Path(__file__).with_name("snapshot_vllm_flags.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=True)
    now, kept = json.loads(done.stdout), json.loads(files("engine").joinpath("vllm_flags.json").read_text())
    names_now, names_kept = set(now["flags"]), set(kept["flags"])
    changed = {name for name in names_now & names_kept if now["flags"][name] != kept["flags"][name]}
    moved = f"gone: {sorted(names_kept - names_now)}, new: {sorted(names_now - names_kept)}, changed: {sorted(changed)}"
    assert now == kept, f"run {script.name} > engine/vllm_flags.json and look at engine/vllm_command.py; {moved}"


def launch(port: int, tensor_parallel_size: int, trace_endpoint: str | None = None) -> EngineLaunch:
    folder = ModelStore(store_folder()).materialise(parse_source(f"bundled:{MODEL}"))
    return EngineLaunch(
        model=MODEL,
        model_path=folder,
        device="cpu",
        host="127.0.0.1",
        port=port,
        internal_token="test",
        tensor_parallel_size=tensor_parallel_size,
        kv_cache_bytes=GIB // 4,
        engine_args={"max_model_len": MAX_MODEL_LEN, "max_num_batched_tokens": CHUNK_TOKENS},
        trace_endpoint=trace_endpoint,
    )


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with receiving() as started:
        yield started


@pytest.fixture(scope="module")
def engine(
    runner: asyncio.Runner, receiver: OtlpReceiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[EngineProcess, EngineProbe]]:
    """One engine with two tensor-parallel workers, ended by the last test."""

    async def start() -> tuple[EngineProcess, EngineProbe]:
        asked = launch(free_port("127.0.0.1"), 2, receiver.endpoint)
        log = tmp_path_factory.mktemp("contract") / "engine.log"
        process, probe = EngineProcess(vllm_command(asked, available_cores()), log, "contract"), EngineProbe(asked)
        await probe.wait_ready(process, 240)
        return process, probe

    process, probe = runner.run(start())
    yield process, probe
    runner.run(process.kill())


@pytest.fixture
def client(engine: tuple[EngineProcess, EngineProbe]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=engine[1].url, headers=TOKEN, timeout=60) as client:
        yield client


def complete(client: httpx.Client, **more: object) -> httpx.Response:
    return client.post("/v1/completions", json={"model": MODEL, "prompt": "one two", "max_tokens": 4, **more})


def metric(client: httpx.Client, name: str) -> float:
    lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith(name + "{")]
    assert lines, f"{name} is no metric of this vLLM"
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


@contextmanager
def feed(client: httpx.Client) -> Iterator[Callable[[], dict[str, Any]]]:
    """What the engine tells the gateway g1 of its own requests, one after another."""
    with client.stream("GET", "/-/feed", params={"gateway": "g1"}) as response:
        lines = response.iter_lines()

        def spent() -> dict[str, Any]:
            return next(told for told in map(json.loads, lines) if told["e"] == "spent")

        yield spent


def counted(client: httpx.Client) -> tuple[float, float]:
    return metric(client, "vllm:prompt_tokens_total"), metric(client, "vllm:generation_tokens_total")


def as_sent_by_a_gateway(key: str) -> dict[str, str]:
    return {"x-baryon-dispatch": f"g1 {key} 2 0 -", "x-baryon-tenant": "acme", "x-request-id": key}


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_each_event_says_the_usage_so_far_and_a_stream_that_is_cut_what_was_computed(
    client: httpx.Client, path: str
) -> None:
    body = {"model": MODEL, "max_tokens": 4000, "ignore_eos": True, "stream": True, "stream_options": EACH}
    body |= {"messages": [{"role": "user", "content": "Hi"}]} if "chat" in path else {"prompt": "one two"}
    before, count, wanted = counted(client), StreamCount(1, 1), UsageWanted(at_end=False, each=False)
    with feed(client) as spent:
        key = f"req-cut-{len(path)}"
        with client.stream("POST", path, json=body, headers=as_sent_by_a_gateway(key)) as response:
            for event in islice(filter(None, response.iter_lines()), 20):
                assert b'"usage":' not in UsageStripper(wanted).feed(event.encode() + b"\n\n")[0]
                count.passed(event.encode() + b"\n\n")
        told = spent()
    prompt, output = (now - then for now, then in zip(counted(client), before, strict=True))
    assert told == {"e": "spent", "k": f"g1/{key}", "p": prompt, "h": told["h"], "o": output}
    assert 0 < count.spent().output_tokens <= output
    assert count.spent().prompt_tokens == prompt


@pytest.mark.parametrize("n", [1, 2])
def test_an_answer_that_is_cut_before_it_came_says_what_was_computed(client: httpx.Client, n: int) -> None:
    before, key = counted(client), f"req-whole-{n}"
    body = {"model": MODEL, "prompt": "one two", "max_tokens": 8000, "ignore_eos": True, "n": n}
    with feed(client) as spent:
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/completions", json=body, headers=as_sent_by_a_gateway(key), timeout=1.5)
        told = spent()
    prompt, output = (now - then for now, then in zip(counted(client), before, strict=True))
    assert told == {"e": "spent", "k": f"g1/{key}", "p": prompt / n, "h": told["h"], "o": output}
    assert output > 0


def test_every_route_we_pass_on_exists(client: httpx.Client) -> None:
    for _, path in sorted(COUNTED_ROUTES - {("POST", b"/v1/embeddings")}):
        assert client.post(path.decode(), json={}).status_code not in (404, 405), path
    for path in ("/v1/models", "/health", "/metrics"):
        assert client.get(path).status_code == 200, path


def test_without_our_token_there_is_nothing(engine: tuple[EngineProcess, EngineProbe]) -> None:
    for path in ("/v1/models", "/metrics", "/tokenize", "/version", "/pause"):
        assert httpx.get(engine[1].url + path).status_code == 404


def test_the_context_length_is_told(client: httpx.Client) -> None:
    assert client.get("/v1/models").json()["data"][0]["max_model_len"] == MAX_MODEL_LEN


def test_metrics_have_the_names_that_health_reads_and_steps_advance(client: httpx.Client) -> None:
    before = metric(client, STEPS)
    complete(client, max_tokens=20, ignore_eos=True).raise_for_status()
    assert metric(client, STEPS) >= before + 19
    assert (metric(client, RUNNING), metric(client, WAITING)) == (0, 0)


def test_progress_shows_during_a_prefill_in_chunks(
    runner: asyncio.Runner, engine: tuple[EngineProcess, EngineProbe], client: httpx.Client
) -> None:
    """A long prompt makes no token for a long time; the engine must not look hung meanwhile."""

    async def looks() -> list[Observation]:
        prompt = [100 + n % 997 for n in range(62 * CHUNK_TOKENS)]
        asked = asyncio.create_task(asyncio.to_thread(complete, client, prompt=prompt, max_tokens=1))
        seen = []
        while not asked.done():
            seen.append(await engine[1].observe())
        (await asked).raise_for_status()
        return seen

    seen = runner.run(looks())
    before_its_token = {look.kv_cache_usage for look in seen if look.steps == seen[0].steps and look.running}
    assert len(before_its_token) >= 3, seen


def test_usage_tells_the_prefix_cache_hit(client: httpx.Client) -> None:
    prompt = "a long prompt about hadrons " * 60
    hits = [complete(client, prompt=prompt).json()["usage"]["prompt_tokens_details"]["cached_tokens"] for _ in range(2)]
    assert hits[1] > hits[0]


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_a_streams_last_event_tells_what_the_router_learns_from(client: httpx.Client, path: str) -> None:
    asked = (
        {"prompt": "x " * 99} if path == "/v1/completions" else {"messages": [{"role": "user", "content": "x " * 99}]}
    )
    more = {"model": MODEL, "max_tokens": 4, "stream": True, "stream_options": {"include_usage": True}}
    events = client.post(path, json={**asked, **more}).text.removesuffix("\n\n").split("\n\n")
    assert NO_CHOICES in events[-2].encode()
    usage = read_usage(events[-2].encode())
    assert usage is not None
    assert usage.output_tokens == 4
    assert usage.cached_tokens is not None
    assert usage.ttft_ms is not None
    assert usage.ttft_ms > 0


def test_an_answer_that_comes_whole_tells_its_time_to_first_token(client: httpx.Client) -> None:
    usage = read_usage(complete(client).content)
    assert usage is not None
    assert usage.ttft_ms is not None
    assert usage.ttft_ms > 0


@pytest.mark.parametrize("streams", [False, True])
def test_the_stages_of_a_request_add_up_to_what_its_client_waits(
    engine: tuple[EngineProcess, EngineProbe], *, streams: bool
) -> None:
    """The closest of five: a client that is kept from reading waits longer than its answer took."""
    port = free_port("127.0.0.1")
    gateway = [sys.executable, "-m", "tests.benchmarks.lone_gateway", str(port), engine[1].url, "test", MODEL]
    body = {"model": MODEL, "prompt": "one two " * 400, "max_tokens": 400, "ignore_eos": True, "stream": streams}
    waits = []
    with running(gateway, port), httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        for _ in range(5):
            began_s = time.perf_counter()
            answer = client.post("/v1/completions", json=body, headers={"x-baryon-timing": "1"})
            e2e_ms = (time.perf_counter() - began_s) * 1000
            comment = answer.text.partition(": server-timing ")[2].partition("\n")[0]
            told = stages(comment if streams else answer.headers["server-timing"])
            assert list(told) == OURS + ENGINES
            assert min(told["prefill"], told["decode"]) > 1
            waits.append((e2e_ms, told))
    off_by = [abs(sum(told.values()) - e2e_ms) / e2e_ms for e2e_ms, told in waits]
    assert min(off_by) < 0.05, waits


def test_the_engine_joins_a_trace_that_is_sampled_and_no_other(client: httpx.Client, receiver: OtlpReceiver) -> None:
    traced, untraced, span = "0af7651916cd43dd8448eb211c80319c", "1bf7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    complete(client).raise_for_status()
    for trace, flags in ((untraced, "00"), (traced, "01")):
        headers = {"traceparent": f"00-{trace}-{span}-{flags}"}
        client.post(
            "/v1/completions", json={"model": MODEL, "prompt": SECRET_WORDS}, headers=headers
        ).raise_for_status()
    (joined,) = receiver.wait_for(1, "llm_request")
    assert (joined["trace"], joined["parent"]) == (traced, span)
    assert joined["service"]["service.name"] == "baryon-engine"
    assert joined["service"]["baryon.model"] == MODEL
    assert joined["attributes"]["gen_ai.latency.time_in_queue"] >= 0
    assert SECRET_WORDS not in repr(receiver.spans)


def test_the_size_of_the_kv_cache_is_told(runner: asyncio.Runner, engine: tuple[EngineProcess, EngineProbe]) -> None:
    tokens = runner.run(engine[1].kv_cache_tokens())
    assert tokens is not None
    assert tokens > MAX_MODEL_LEN


def test_other_gateways_hear_of_a_stream_as_it_begins_has_a_token_and_ends(client: httpx.Client) -> None:
    dispatch = {"x-baryon-dispatch": dispatch_header("g1", "req-1", 20, 0, (7, 8)).decode()}
    with client.stream("GET", "/-/feed?gateway=g2") as feed:
        lines = (json.loads(line) for line in feed.iter_lines())
        assert next(lines) == {"e": "reset"}
        more = {"model": MODEL, "prompt": "x", "max_tokens": 4, "stream": True}
        client.post("/v1/completions", json=more, headers=dispatch).raise_for_status()
        told = list(islice((line for line in lines if line["e"] != "alive"), 3))
    assert [line["e"] for line in told] == ["began", "first", "ended"]
    assert {line["k"] for line in told} == {"g1/req-1"}
    assert (told[0]["p"], told[0]["h"]) == (20, 0)


def test_errors_are_openais_object_and_our_request_id_is_kept(client: httpx.Client) -> None:
    refused = complete(client, max_tokens=2 * MAX_MODEL_LEN)
    assert refused.status_code == 400
    assert set(refused.json()["error"]) >= {"message", "type", "param", "code"}
    answer = client.post("/v1/completions", json={"model": MODEL, "prompt": "x"}, headers={"x-request-id": "req-7"})
    assert "req-7" in answer.json()["id"]


def test_a_stream_ends_with_done(client: httpx.Client) -> None:
    body = complete(client, stream=True, stream_options={"include_usage": True}).text.strip().split("\n\n")
    assert body[-1] == "data: [DONE]"
    assert json.loads(body[-2].removeprefix("data: "))["usage"]["completion_tokens"] == 4


def test_a_stopped_core_is_judged_hung_although_health_says_200(
    runner: asyncio.Runner, engine: tuple[EngineProcess, EngineProbe], client: httpx.Client
) -> None:
    """Last: its server is killed then, and nothing is left of the tree, stopped process included."""
    process, probe = engine
    members = process.members()
    workers = [member for member in members if "VLLM::Worker" in member.title]
    core = next(member for member in members if "EngineCore" in member.title)
    assert len(workers) == 2

    async def hang() -> Failure:
        async with httpx.AsyncClient(base_url=probe.url, headers=TOKEN, timeout=60) as asker:
            body = {"model": MODEL, "prompt": "x", "max_tokens": 900, "ignore_eos": True, "stream": True}
            async with asker.stream("POST", "/v1/completions", json=body) as response:
                lines = response.aiter_lines()
                await anext(lines)
                while not (await probe.observe()).running:
                    await asyncio.sleep(0.05)
                os.kill(core.pid, signal.SIGSTOP)
                failure = await failure_of(process, probe, lambda: HealthLimits(hang_timeout_s=5.0))
                assert (await asker.get("/health")).status_code == 200
                return failure

    failure = runner.run(hang())
    assert failure.cause == "hung"
    assert "no step" in failure.message
    server = next(member for member in members if "api_server" in member.title and member is not members[0])
    os.kill(server.pid, signal.SIGKILL)
    runner.run(asyncio.wait_for(process.ended.wait(), 10))
    assert not any(map(is_alive, members))
    assert process.failure().cause == "killed"
