"""What a recipe (`on`) adds to the plain call that it makes (`before`): the same messages, each to a gateway alike.

`python -m tests.benchmarks.recipe_cost [--json OUT]`. The simulated engine at its fastest; request by request in turn
on kept connections, medians of rounds. CPU time is the gateways' own, one for each way.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop

from cluster.bench.http_load import Target, post
from cluster.bench.overhead_run import commit_id
from deployments.gateway.recipes.shelf import shipped
from tests.benchmarks.gateway_cpu import free_port, rss_mb, running
from tests.benchmarks.trust_cost import in_turn, summary

MODULE = (sys.executable, "-m")
QUESTION = "What is the capital of France?"
CONTEXT = "The capital of France is Paris. " * 256
INPUTS: dict[str, dict[str, Any]] = {
    "a question": {"question": QUESTION},
    "a question about 8 kB": {"question": QUESTION, "context": CONTEXT},
}
ANSWER = {"max_tokens": 2}


def requests(targets: Mapping[str, Target], inputs: dict[str, Any]) -> dict[Target, bytes]:
    """The plain one is what the recipe asks the engine for."""
    prompt = shipped()["answer"].prompt.render({"context": None, **inputs}, 10**6)
    plain = {"model": "m", "messages": prompt, "temperature": 0.0, **ANSWER}
    recipe = {"inputs": inputs, **ANSWER}
    return {
        targets["before"]: post(targets["before"], "/v1/chat/completions", plain),
        targets["on"]: post(targets["on"], "/v1/recipes/answer", recipe),
    }


def main() -> dict[str, Any]:
    engine_port, ports = free_port(), {name: free_port() for name in ("before", "on")}
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
            rows = uvloop.run(in_turn(requests(targets, inputs), pids))
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
