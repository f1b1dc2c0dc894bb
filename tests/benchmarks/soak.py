"""`python -m tests.benchmarks.soak GATEWAY_PORT GATEWAY_PID MODEL [REQUESTS]`: does a gateway grow, or lose an answer?

Half the requests stream. Prints resident memory after each tenth of the run and its slope per 1,000 requests.
"""

import asyncio
import json
import statistics
import sys

import uvloop

from cluster.bench.http_load import Target, post, run_streams
from tests.benchmarks.gateway_cpu import rss_mb

STREAMS = 16
TOKENS = 8


async def soak(port: int, pid: int, model: str, requests: int) -> dict[str, object]:
    target = Target("gateway", "127.0.0.1", port)

    def request(number: int) -> bytes:
        body = {"model": model, "prompt": f"{number} leptons", "max_tokens": TOKENS, "stream": number % 2 == 0}
        return post(target, "/v1/completions", body)

    memory_mb, failed = [], 0
    for _ in range(10):
        _, replies = await run_streams(target, STREAMS, requests // 10 // STREAMS, request)
        failed += sum(reply.status != 200 for reply in replies)
        memory_mb.append(round(rss_mb(pid), 2))
    half = memory_mb[len(memory_mb) // 2 :]
    xs = [number * requests / 10_000 for number in range(len(half))]
    slope = statistics.linear_regression(xs, half).slope
    return {"requests": requests, "failed": failed, "rss_mb": memory_mb, "slope_mb_per_1000_requests": round(slope, 4)}


if __name__ == "__main__":
    port, pid, model, *rest = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(soak(int(port), int(pid), model, int(rest[0]) if rest else 20_000))
    print(json.dumps(result))
