"""What a record of every request and `Server-Timing` cost: alone, with metrics, and with traces of all requests, too.
Against an earlier commit.

`python -m tests.benchmarks.record_cost [--before COMMIT] [--json OUT]`. Same engine, same run, in turn; CPU time is the
gateways' own.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import uvloop

from cluster.bench.http_load import Target
from cluster.bench.overhead_run import commit_id
from tests.benchmarks.gateway_cpu import free_port, per_chunk, rss_mb, running
from tests.benchmarks.trust_cost import measure as measure_requests
from tests.benchmarks.trust_cost import summary
from tests.benchmarks.usage_cost import checked_out

BEFORE = "dc1310e"
MEASURED = ("record", "observed", "traced")
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


async def measure(before: Path) -> dict[str, object]:
    engine_port, traces_port = free_port(), free_port()
    ports = {name: free_port() for name in ("before", *MEASURED)}
    url = f"http://127.0.0.1:{engine_port}"
    engine = [*MODULE, "tests.benchmarks.fake_engine", str(engine_port), str(CHUNKS), str(INTERVAL_MS)]
    pids = {}
    with ExitStack() as stack:
        stack.enter_context(running(engine, engine_port))
        stack.enter_context(running([*MODULE, "tests.benchmarks.otlp_sink", str(traces_port)], traces_port))
        for name, port in ports.items():
            module = "observed_gateway" if name in ("observed", "traced") else "lone_gateway"
            traces = [f"http://127.0.0.1:{traces_port}/v1/traces"] if name == "traced" else []
            gateway = [*MODULE, f"tests.benchmarks.{module}", str(port), url, *traces]
            pids[name] = stack.enter_context(running(gateway, port, before if name == "before" else None))
        targets = [Target(name, "127.0.0.1", port) for name, port in ports.items()]
        requests = await measure_requests(targets, pids, PROMPT)
        chunks = await chunks_us(targets, pids)
        mb = {name: rss_mb(pid) for name, pid in pids.items()}
    return {name: against_before(name, requests, chunks, mb) for name in MEASURED}


def against_before(
    name: str, requests: dict[str, dict[str, list[float]]], chunks: dict[str, list[float]], mb: dict[str, float]
) -> dict[str, object]:
    paired = [on / off for off, on in zip(chunks["before"], chunks[name], strict=True)]
    return {
        "request": summary({"before": requests["before"], "on": requests[name]}),
        "chunk_us": {which: statistics.median(chunks[which]) for which in ("before", name)},
        "chunk_ratio": statistics.median(paired),
        "added_mb": mb[name] - mb["before"],
        "rounds": {which: {**requests[which], "chunk_us": chunks[which]} for which in ("before", name)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", default=BEFORE, help="a commit without records")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        measured = runner.run(measure(checked_out(arguments.before, Path(folder))))
    result = {"benchmark": "record_cost", "commit": commit_id(), "before": arguments.before, **measured}
    shown = {
        k: {n: v for n, v in part.items() if n != "rounds"} if isinstance(part, dict) else part
        for k, part in result.items()
    }
    print(json.dumps(shown, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
