"""What a gateway that trusts nobody costs: keys, four limits, usage, body rules and the fair queue, against the gateway
as it was before all of them.

`python -m tests.benchmarks.trust_cost --before FOLDER [--json OUT]`: FOLDER is a checkout of an earlier commit, with
its `tests.benchmarks.lone_gateway`. Request by request in turn on kept connections, same engine.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import uvloop

from cluster.bench.http_load import HttpStream, Target, post
from cluster.bench.overhead_run import commit_id
from deployments.gateway.tenants.api_key import new_api_key
from tests.benchmarks.gateway_cpu import cpu_s, free_port, rss_mb, running

ROUNDS, REQUESTS = 9, 600
WARM_UP = 200
LIMITS_UNKNOWN = 503
MODULE = (sys.executable, "-m")
PROMPTS = {"short chat": "What is the capital of France?", "chat of 8 kB": "The capital of France is Paris. " * 256}


def chat(prompt: str) -> dict[str, object]:
    return {"model": "m", "messages": [{"role": "user", "content": prompt}]}


async def measure(targets: list[Target], pids: dict[str, int], prompt: str) -> dict[str, dict[str, list[float]]]:
    """See `in_turn`: the same chat for each."""
    return await in_turn({t: post(t, "/v1/chat/completions", chat(prompt)) for t in targets}, pids)


async def in_turn(asked: dict[Target, bytes], pids: dict[str, int]) -> dict[str, dict[str, list[float]]]:
    """Each its own request, one after the other on kept connections: medians of each round in milliseconds, and the
    gateway's CPU time for a request in microseconds.
    """
    loop = asyncio.get_running_loop()
    connections = {t.name: (await loop.create_connection(HttpStream, t.host, t.port))[1] for t in asked}
    requests = {target.name: request for target, request in asked.items()}
    rows: dict[str, dict[str, list[float]]] = {name: {"ms": [], "cpu_us": []} for name in requests}
    for name, connection in connections.items():
        while (await connection.send(requests[name])).status == LIMITS_UNKNOWN:
            await asyncio.sleep(0.1)
        for _ in range(WARM_UP):
            assert (await connection.send(requests[name])).status == 200
    for number in range(ROUNDS):
        times: dict[str, list[float]] = {name: [] for name in connections}
        began_s = {name: cpu_s(pids[name]) for name in connections}
        order = list(connections.items())[:: 1 if number % 2 else -1]
        for _ in range(REQUESTS):
            for name, connection in order:
                times[name].append((await connection.send(requests[name])).end_s * 1e3)
        for name, taken in times.items():
            rows[name]["ms"].append(statistics.median(taken))
            rows[name]["cpu_us"].append((cpu_s(pids[name]) - began_s[name]) / REQUESTS * 1e6)
    for connection in connections.values():
        connection.close()
    return rows


def summary(rows: dict[str, dict[str, list[float]]]) -> dict[str, float]:
    """Of `before` and `on`."""
    off, on = rows["before"], rows["on"]
    return {
        "added_ms": statistics.median(b - a for a, b in zip(off["ms"], on["ms"], strict=True)),
        "added_cpu_us": statistics.median(b - a for a, b in zip(off["cpu_us"], on["cpu_us"], strict=True)),
        "before_ms": statistics.median(off["ms"]),
    }


def main(folder: Path) -> dict[str, object]:
    engine_port, lender_port, port_before, port_on = (free_port() for _ in range(4))
    _, key = new_api_key()
    with ExitStack() as stack:
        enter = stack.enter_context
        enter(running([*MODULE, "tests.benchmarks.fake_engine", str(engine_port), "100", "10"], engine_port))
        enter(running([*MODULE, "tests.benchmarks.limited_site", "lender", str(lender_port)], lender_port))
        guarded = [*MODULE, "tests.benchmarks.guarded_gateway", *map(str, (port_on, engine_port, lender_port)), key]
        old = [*MODULE, "tests.benchmarks.lone_gateway", str(port_before), f"http://127.0.0.1:{engine_port}"]
        pids = {"before": enter(running(old, port_before, folder)), "on": enter(running(guarded, port_on))}
        targets = [
            Target("before", "127.0.0.1", port_before),
            Target("on", "127.0.0.1", port_on, (("Authorization", f"Bearer {key}"),)),
        ]
        result: dict[str, object] = {"benchmark": "trust_cost", "commit": commit_id(), "before": commit_of(folder)}
        for name, prompt in PROMPTS.items():
            rows = uvloop.run(measure(targets, pids, prompt))
            result[name] = {**summary(rows), "rounds": rows}
        mb = {name: rss_mb(pid) for name, pid in pids.items()}
        result["memory_mb"] = {**mb, "added": mb["on"] - mb["before"]}
    return result


def commit_of(folder: Path) -> str:
    done = subprocess.run(["git", "-C", folder, "rev-parse", "--short", "HEAD"], capture_output=True, check=True)
    return done.stdout.decode().strip()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    measured = main(arguments.before.resolve())
    shown = {
        k: {n: v for n, v in v.items() if n != "rounds"} if isinstance(v, dict) else v for k, v in measured.items()
    }
    print(json.dumps(shown, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(measured, indent=1) + "\n")
