"""What a recipe adds to the plain call that it makes: the same messages to the same gateway, with and without.

`python -m tests.benchmarks.recipe_cost [--json OUT]`. The simulated engine at its fastest; request by request in turn
on kept connections, medians of rounds. CPU time is the gateways' own, one for each way.
"""

import argparse
import asyncio
import json
import statistics
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop

from cluster.bench.http_load import HttpStream, Target, post
from cluster.bench.overhead_run import commit_id
from deployments.gateway.recipes.shelf import shipped
from tests.benchmarks.gateway_cpu import cpu_s, free_port, rss_mb, running

MODULE = (sys.executable, "-m")
ROUNDS, REQUESTS, WARM_UP = 9, 400, 200
QUESTION = "What is the capital of France?"
CONTEXT = "The capital of France is Paris. " * 256
INPUTS: dict[str, dict[str, Any]] = {
    "a question": {"question": QUESTION},
    "a question about 8 kB": {"question": QUESTION, "context": CONTEXT},
}
ANSWER = {"max_tokens": 2}


def requests(targets: Mapping[str, Target], inputs: dict[str, Any]) -> dict[str, bytes]:
    """The plain one is what the recipe asks the engine for."""
    prompt = shipped()["answer"].prompt.render({"context": None, **inputs}, 10**6)
    plain = {"model": "m", "messages": prompt, "temperature": 0.0, **ANSWER}
    recipe = {"inputs": inputs, **ANSWER}
    return {
        "plain": post(targets["plain"], "/v1/chat/completions", plain),
        "recipe": post(targets["recipe"], "/v1/recipes/answer", recipe),
    }


async def measure(
    targets: Mapping[str, Target], pids: Mapping[str, int], inputs: dict[str, Any]
) -> dict[str, dict[str, list[float]]]:
    """Medians of each round in milliseconds, and the gateway's CPU time for a request in microseconds."""
    loop = asyncio.get_running_loop()
    connections = {
        name: (await loop.create_connection(HttpStream, target.host, target.port))[1]
        for name, target in targets.items()
    }
    asked = requests(targets, inputs)
    rows: dict[str, dict[str, list[float]]] = {name: {"ms": [], "cpu_us": []} for name in targets}
    for name, connection in connections.items():
        for _ in range(WARM_UP):
            assert (await connection.send(asked[name])).status == 200
    for number in range(ROUNDS):
        times: dict[str, list[float]] = {name: [] for name in connections}
        began_s = {name: cpu_s(pids[name]) for name in connections}
        order = list(connections.items())[:: 1 if number % 2 else -1]
        for _ in range(REQUESTS):
            for name, connection in order:
                times[name].append((await connection.send(asked[name])).end_s * 1e3)
        for name, taken in times.items():
            rows[name]["ms"].append(statistics.median(taken))
            rows[name]["cpu_us"].append((cpu_s(pids[name]) - began_s[name]) / REQUESTS * 1e6)
    for connection in connections.values():
        connection.close()
    return rows


def summary(rows: Mapping[str, Mapping[str, list[float]]]) -> dict[str, float]:
    plain, recipe = rows["plain"], rows["recipe"]
    return {
        "added_ms": statistics.median(b - a for a, b in zip(plain["ms"], recipe["ms"], strict=True)),
        "added_cpu_us": statistics.median(b - a for a, b in zip(plain["cpu_us"], recipe["cpu_us"], strict=True)),
        "plain_ms": statistics.median(plain["ms"]),
    }


def main() -> dict[str, Any]:
    engine_port, ports = free_port(), {name: free_port() for name in ("plain", "recipe")}
    simulated = ["--model", "m", "--port", str(engine_port), "--profile", "instant"]
    result: dict[str, Any] = {"benchmark": "recipe_cost", "commit": commit_id()}
    with ExitStack() as stack:
        stack.enter_context(running([*MODULE, "engine.simulated", *simulated], engine_port))
        pids = {}
        for name, port in ports.items():
            gateway = [*MODULE, "tests.benchmarks.lone_gateway", str(port), f"http://127.0.0.1:{engine_port}"]
            pids[name] = stack.enter_context(running(gateway, port))
        targets = {name: Target(name, "127.0.0.1", port) for name, port in ports.items()}
        for name, inputs in INPUTS.items():
            rows = uvloop.run(measure(targets, pids, inputs))
            result[name] = {**summary(rows), "rounds": rows}
        result["memory_mb"] = {name: rss_mb(pid) for name, pid in pids.items()}
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    measured = main()
    print(
        json.dumps(
            {
                k: {n: v for n, v in row.items() if n != "rounds"} if isinstance(row, dict) else row
                for k, row in measured.items()
            },
            indent=1,
        )
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(measured, indent=1) + "\n")
