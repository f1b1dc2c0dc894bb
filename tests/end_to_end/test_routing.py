"""Requests go where their prompts are cached, are told why if they ask, and gateways hear of each other."""

import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

import httpx
import pytest
import ray
from openai import OpenAI

from tests.end_to_end.cluster_process import ClusterProcess
from tests.end_to_end.conftest import CHAT, SIMULATED

pytestmark = [pytest.mark.engine, pytest.mark.cluster]
CACHE_BLOCK_TOKENS = 128
EXPLAIN = {"x-baryon-explain": "1"}


def chat(model: str, text: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 4, **more}


def explained(cluster: ClusterProcess, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was predicted, and what came of it."""
    answer = httpx.post(f"{cluster.url}/v1/chat/completions", json=body, headers=EXPLAIN, timeout=120)
    answer.raise_for_status()
    route = json.loads(answer.headers["x-baryon-route"])
    if not body.get("stream"):
        return route, json.loads(answer.headers["x-baryon-actual"])
    *_, comment, done, end = answer.text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    return route, json.loads(comment.removeprefix(": baryon "))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_prompt_sent_again_is_expected_in_vllms_cache_and_found_there(cluster: ClusterProcess, stream: bool) -> None:
    text = f"{uuid.uuid4()} " + "Tell me of the proton, the neutron and the lambda. " * 30
    first_route, first = explained(cluster, chat(CHAT, text, stream=stream))
    route, outcome = explained(cluster, chat(CHAT, text, stream=stream))
    assert first_route["predicted_hit_tokens"] < 64
    assert first["hit_tokens"] < 64
    assert outcome["hit_tokens"] >= outcome["prompt_tokens"] - CACHE_BLOCK_TOKENS
    assert abs(route["predicted_hit_tokens"] - outcome["hit_tokens"]) < 0.25 * outcome["prompt_tokens"]
    assert 0 < outcome["ttft_ms"] <= outcome["e2e_ms"]
    assert outcome["output_tokens"] == 4


def test_a_client_that_did_not_ask_for_usage_sees_none(client: OpenAI) -> None:
    chunks = list(client.chat.completions.create(**chat(CHAT, "Hello", stream=True)))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


def home(cluster: ClusterProcess, _: int) -> str:
    """Where one conversation of four turns is answered."""
    text = f"{uuid.uuid4()} " + "quark " * 800
    replicas = {explained(cluster, chat(SIMULATED, text + "gluon " * 50 * turn))[0]["replica"] for turn in range(4)}
    assert len(replicas) == 1
    return str(replicas.pop())


def test_a_conversation_stays_on_one_replica_and_those_at_the_same_time_are_spread(cluster: ClusterProcess) -> None:
    with ThreadPoolExecutor(8) as clients:
        assert len(set(clients.map(partial(home, cluster), range(8)))) == 2


TWO_GATEWAYS = """
models:
  - {name: slow, engine: simulated, profile: llama-3.1-70b-h100-tp4, cpus_per_replica: 0.1, replicas: {min: 2}}
"""
STREAMS = 12


@pytest.fixture(scope="module")
def two_gateways() -> Iterator[ClusterProcess]:
    cluster = ClusterProcess(TWO_GATEWAYS, gateway_processes=2)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


def test_each_gateway_counts_what_the_others_sent(two_gateways: ClusterProcess) -> None:
    url = f"{two_gateways.url}/v1/chat/completions"
    answers = []
    with ExitStack() as open_streams:
        for number in range(STREAMS):
            client = open_streams.enter_context(httpx.Client(timeout=60))
            body = chat("slow", f"{number} {uuid.uuid4()}", stream=True, max_tokens=1500)
            answer = open_streams.enter_context(client.stream("POST", url, json=body))
            answers.append(answer.iter_raw())
            next(answers[-1])
        for _ in range(16):
            route, _ = explained(two_gateways, chat("slow", "What is there?"))
            assert sum(candidate["decoding_requests"] for candidate in route["candidates"]) >= STREAMS


def test_predicted_and_actual_hits_are_metrics_that_ray_exports(cluster: ClusterProcess) -> None:
    explained(cluster, chat(CHAT, "Count me."))
    assert cluster.live.snapshot() is not None
    (node,) = ray.nodes()
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    wanted = {f"ray_baryon_router_{name}_total" for name in ("requests", "predicted_hit_tokens", "actual_ttft_ms")}
    deadline_s = time.monotonic() + 60
    missing = wanted
    while missing and time.monotonic() < deadline_s:
        lines = [line for line in httpx.get(url, timeout=10).text.splitlines() if f'model="{CHAT}"' in line]
        missing = {name for name in wanted if not any(line.startswith(name + "{") for line in lines)}
        time.sleep(0.5)
    assert not missing, httpx.get(url, timeout=10).text[-3000:]
