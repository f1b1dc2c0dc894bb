"""Our routing beside round robin on two real engines: `python -m tests.benchmarks.real_routing --trace FILE`.

Both through the same gateway in one run: stretches of the trace are played under one policy and then the other, with
prompts of their own, so that neither finds the other's in a cache. Round robin is the gateway's own session affinity,
asked for the one and the other replica by turns.
"""

import argparse
import asyncio
import json
import statistics
from dataclasses import asdict
from itertools import cycle
from pathlib import Path
from random import Random

import httpx

from cluster.simulator.summary import percentile
from cluster.simulator.trace_request import TraceRequest
from deployments.gateway.routing.affinity import replica_of_session
from tests.benchmarks.real_load import FIRST_TOKEN, TOKENS, Job, Measured, conversations, play, prompt_of
from tests.end_to_end.cluster_process import ClusterProcess

MODEL = "smollm2-135m-instruct"
MAX_MODEL_LEN = 4096
MODELS = f"""
models:
  - name: {MODEL}
    source: bundled:{MODEL}
    kv_cache_gib: 1
    cpus_per_replica: 0.5
    replicas: {{min: 2}}
    engine_args: {{max_model_len: {MAX_MODEL_LEN}, block_size: 32}}
"""
POLICIES = ("baryon", "round-robin")
WARM_UP = 24


def replicas_of(url: str) -> list[str]:
    body = {"model": MODEL, "prompt": "x", "max_tokens": 1}
    answer = httpx.post(f"{url}/v1/completions", json=body, headers={"x-baryon-explain": "1"}, timeout=120)
    return sorted(candidate["replica"] for candidate in json.loads(answer.headers["x-baryon-route"])["candidates"])


def session_for(replica: str, replicas: list[str]) -> str:
    return next(f"turn-{n}" for n in range(10_000) if replica_of_session(f"turn-{n}".encode(), replicas) == replica)


def jobs_of(requests: list[TraceRequest], block_tokens: int, policy: str, turns: "cycle[str]") -> list[Job]:
    began_ms = requests[0].arrived_ms
    return [
        Job(
            (request.arrived_ms - began_ms) / 1000,
            prompt_of(request, block_tokens, policy),
            request.output_tokens,
            {"x-baryon-session": next(turns)} if policy == "round-robin" else {},
        )
        for request in requests
    ]


def figures(measured: list[Measured]) -> dict[str, float]:
    ttft_ms, e2e_ms = [one.ttft_ms for one in measured], [one.e2e_ms for one in measured]
    return {
        "ttft_mean_ms": statistics.fmean(ttft_ms),
        "ttft_p50_ms": percentile(ttft_ms, 0.5),
        "ttft_p90_ms": percentile(ttft_ms, 0.9),
        "tpot_mean_ms": statistics.fmean(one.tpot_ms for one in measured if one.output_tokens > 1),
        "e2e_mean_ms": statistics.fmean(e2e_ms),
        "prefix_hit_rate": sum(one.cached_tokens for one in measured) / sum(one.prompt_tokens for one in measured),
    }


def stretches(trace: Path, count: int, requests: int, rate_req_s: float) -> tuple[list[list[TraceRequest]], int]:
    chosen, block_tokens = conversations(trace, count * requests, rate_req_s, MAX_MODEL_LEN)
    return [chosen[number * requests : (number + 1) * requests] for number in range(count)], block_tokens


def warm_up_jobs() -> list[Job]:
    """What the router learns from before it is compared: prompts that share nothing."""
    source = Random(0)
    lengths = [source.randrange(50, 800) for _ in range(WARM_UP)]
    prompts = [[FIRST_TOKEN + source.randrange(TOKENS) for _ in range(length)] for length in lengths]
    return [Job(1.5 * number, prompt, 24) for number, prompt in enumerate(prompts)]


async def compare(url: str, trace: Path, count: int, requests: int, rate_req_s: float) -> dict[str, object]:
    replicas = replicas_of(url)
    assert len(replicas) == 2, f"two replicas are compared, not {len(replicas)}"
    turns = cycle([session_for(replica, replicas) for replica in replicas])
    await play(url, MODEL, warm_up_jobs(), {})
    parts, block_tokens = stretches(trace, count, requests, rate_req_s)
    measured: dict[str, list[list[Measured]]] = {policy: [] for policy in POLICIES}
    for number, part in enumerate(parts):
        for policy in POLICIES if number % 2 else reversed(POLICIES):
            came = await play(url, MODEL, jobs_of(part, block_tokens, policy, turns), {})
            measured[policy].append(came)
            print(f"stretch {number + 1} of {count}, {policy}: {json.dumps(figures(came))}", flush=True)
    whole = {policy: figures([one for part in parts for one in part]) for policy, parts in measured.items()}
    ours, theirs = (whole[policy] for policy in POLICIES)
    return {
        "rate_req_s": rate_req_s,
        "requests": count * requests,
        "figures": whole,
        "baryon_to_round_robin": {name: ours[name] / theirs[name] for name in ours if theirs[name]},
        "raw": {policy: [[asdict(one) for one in part] for part in parts] for policy, parts in measured.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trace", type=Path, required=True)
    parser.add_argument("--stretches", type=int, default=6)
    parser.add_argument("--requests", type=int, default=30, help="in each stretch")
    parser.add_argument("--rate", type=float, default=0.6, help="requests per second")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cluster = ClusterProcess(MODELS)
    try:
        cluster.start()
        report = asyncio.run(
            compare(cluster.url, arguments.trace, arguments.stretches, arguments.requests, arguments.rate)
        )
    finally:
        cluster.remove()
    print(json.dumps({name: part for name, part in report.items() if name != "raw"}, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
