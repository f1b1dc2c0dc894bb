"""What it costs a gateway that its requests are seen: everything on against everything off, and what lies between, of
one commit (`observed_gateway`).

`python -m tests.benchmarks.record_cost [--json OUT]`. Same engine, which costs nothing, same run, in turn; CPU time is
the gateways' own. What that is of a token's CPU, vLLM's included: `tests.benchmarks.token_cost`.
"""

import argparse
import asyncio
import json
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path

import uvloop

from cluster.bench.http_load import Target
from cluster.bench.overhead_run import commit_id
from tests.benchmarks.gateway_cpu import free_port, per_chunk, rss_mb, running
from tests.benchmarks.observed_gateway import LEVELS
from tests.benchmarks.trust_cost import measure as measure_requests
from tests.benchmarks.trust_cost import summary

CHUNKS, INTERVAL_MS, ROUNDS = 100, 10.0, 9
PROMPT = "What is the capital of France?"
MODULE = (sys.executable, "-m")


async def chunks_us(targets: list[Target], pids: dict[str, int]) -> dict[str, list[float]]:
    """CPU of a streamed chunk in each round, the request itself shared among its chunks."""
    rows: dict[str, list[float]] = {target.name: [] for target in targets}
    for number in range(ROUNDS):
        for target in targets[:: 1 if number % 2 else -1]:
            rows[target.name].append(await per_chunk(target, pids[target.name]))
    return rows


async def measure() -> dict[str, object]:
    engine_port, traces_port = free_port(), free_port()
    ports = {level: free_port() for level in LEVELS}
    url, traces = f"http://127.0.0.1:{engine_port}", f"http://127.0.0.1:{traces_port}/v1/traces"
    engine = [*MODULE, "tests.benchmarks.fake_engine", str(engine_port), str(CHUNKS), str(INTERVAL_MS)]
    pids = {}
    with ExitStack() as stack:
        stack.enter_context(running(engine, engine_port))
        stack.enter_context(running([*MODULE, "tests.benchmarks.otlp_sink", str(traces_port)], traces_port))
        for level, port in ports.items():
            gateway = [*MODULE, "tests.benchmarks.observed_gateway", level, str(port), url, traces]
            pids[level] = stack.enter_context(running(gateway, port))
        targets = [Target(level, "127.0.0.1", port) for level, port in ports.items()]
        requests = await measure_requests(targets, pids, PROMPT)
        chunks = await chunks_us(targets, pids)
        mb = {level: rss_mb(pid) for level, pid in pids.items()}
    against = {level: against_off(level, requests, chunks, mb) for level in LEVELS[1:]}
    return {**against, "rounds": {level: {**requests[level], "chunk_us": chunks[level]} for level in LEVELS}}


def against_off(
    level: str, requests: dict[str, dict[str, list[float]]], chunks: dict[str, list[float]], mb: dict[str, float]
) -> dict[str, object]:
    pairs = list(zip(chunks["off"], chunks[level], strict=True))
    return {
        "request": summary({"before": requests["off"], "on": requests[level]}),
        "chunk_us": {which: statistics.median(chunks[which]) for which in ("off", level)},
        "added_chunk_us": statistics.median(on - off for off, on in pairs),
        "chunk_ratio": statistics.median(on / off for off, on in pairs),
        "added_mb": mb[level] - mb["off"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = {"benchmark": "record_cost", "commit": commit_id(), **runner.run(measure())}
    print(json.dumps({name: value for name, value in result.items() if name != "rounds"}, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
