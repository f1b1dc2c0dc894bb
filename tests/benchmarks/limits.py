"""Allowed against limit with four gateways, uneven clients, a killed gateway and a state that is away; and what limits
cost a request. `python -m tests.benchmarks.limits [--json OUT]`, five minutes.

Twice as much is offered as the limits allow, 85 % of it through one gateway. Amounts are the engine's own counts.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import uvloop

from tests.benchmarks.gateway_cpu import free_port, running
from tests.benchmarks.limited_site import MODELS, PROMPT_TOKENS, RARE, RARE_TOKENS, USUAL_TOKENS

WEIGHTS = (85, 5, 5, 5)
OFFERED = 2.0
MEASURED_S = 100
ROUNDS, REQUESTS = 9, 300
ROLE = (sys.executable, "-m", "tests.benchmarks.limited_site")
BINS_A_MINUTE = 120

Counts = dict[str, dict[str, list[int]]]


class Site:
    def __init__(self, stack: ExitStack, gateways: int = 4) -> None:
        self._stack = stack
        self.engine_port, self.lender_port = free_port(), free_port()
        self._run("engine", self.engine_port)
        self.lender_pid = self._run("lender", self.lender_port)
        self.ports = [free_port() for _ in range(gateways)]
        self.pids = [self._run("gateway", port, self.engine_port, self.lender_port) for port in self.ports]
        self.weights = list(WEIGHTS[:gateways])

    def _run(self, role: str, port: int, *others: int) -> int:
        return self._stack.enter_context(running([*ROLE, role, str(port), *map(str, others)], port))

    def kill_gateway(self) -> None:
        """The one with most of the clients, who go to the next."""
        os.kill(self.pids[0], signal.SIGKILL)
        self.weights = [0, WEIGHTS[0], *WEIGHTS[2:]]

    def kill_state(self) -> None:
        os.kill(self.lender_pid, signal.SIGKILL)

    def start_state(self) -> None:
        self.lender_pid = self._run("lender", self.lender_port)

    def url(self) -> str:
        return f"http://127.0.0.1:{random.choices(self.ports, self.weights)[0]}/v1/chat/completions"


def body(model: str) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "Hi"}], "stream": model == "tokens"}


async def ask(client: httpx.AsyncClient, site: Site, model: str) -> None:
    try:
        await client.post(site.url(), json=body(model))
    except httpx.TransportError:
        """Of the gateway that was killed."""


async def offer(client: httpx.AsyncClient, site: Site, model: str, per_s: float, until_s: float) -> None:
    asking: set[asyncio.Task[None]] = set()
    while time.time() < until_s:
        await asyncio.sleep(random.expovariate(per_s))
        task = asyncio.create_task(ask(client, site, model))
        asking.add(task)
        task.add_done_callback(asking.discard)
    for task in asking:
        task.cancel()


async def load(site: Site, seconds: float, events: dict[float, str]) -> tuple[float, Counts]:
    """When it began, and what the engine delivered."""
    began_s = time.time()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:
        mean_tokens = PROMPT_TOKENS + RARE * RARE_TOKENS + (1 - RARE) * USUAL_TOKENS
        rates = {
            "requests": OFFERED * MODELS["requests"].requests_per_minute / 60,  # type: ignore[operator]
            "tokens": OFFERED * MODELS["tokens"].tokens_per_minute / 60 / mean_tokens,  # type: ignore[operator]
            "slots": 24.0,
        }
        offering = [offer(client, site, model, rate, began_s + seconds) for model, rate in rates.items()]

        async def happen() -> None:
            for at_s, event in sorted(events.items()):
                await asyncio.sleep(began_s + at_s - time.time())
                await asyncio.to_thread(getattr(site, event))

        await asyncio.gather(happen(), *offering)
        counts: Counts = (await client.get(f"http://127.0.0.1:{site.engine_port}/")).json()
    return began_s, counts


def percent(counts: Counts, began_s: float, seconds: float) -> dict[str, dict[str, float]]:
    """Of the limit: in the fullest of all minutes; of slots, the most and the mean."""
    result = {}
    first, last = int(began_s * 2), int((began_s + seconds) * 2)
    columns = {
        "requests": (0, MODELS["requests"].requests_per_minute),
        "tokens": (1, MODELS["tokens"].tokens_per_minute),
    }
    for model, (column, limit) in columns.items():
        assert limit is not None
        amounts = [counts[model].get(str(index), [0, 0, 0])[column] for index in range(first, last)]
        minutes = [sum(amounts[at : at + BINS_A_MINUTE]) for at in range(len(amounts) - BINS_A_MINUTE + 1)]
        result[model] = {"fullest_minute": 100 * max(minutes) / limit}
    slots = [counts["slots"].get(str(index), [0, 0, 0])[2] for index in range(first + 10, last)]
    most = MODELS["slots"].concurrent_requests
    assert most is not None
    result["slots"] = {"most": 100 * max(slots) / most, "mean": 100 * statistics.mean(slots) / most}
    return {model: {name: round(value, 1) for name, value in row.items()} for model, row in result.items()}


def cost(site: Site) -> dict[str, object]:
    """Median of a request without and with four limits, in turns on a kept connection."""
    rounds: dict[str, list[float]] = {"free": [], "ample": []}
    with httpx.Client() as client:
        for _ in range(ROUNDS + 1):
            times: dict[str, list[float]] = {"free": [], "ample": []}
            for number in range(2 * REQUESTS):
                model = ("free", "ample")[number % 2]
                began = time.perf_counter()
                answer = client.post(f"http://127.0.0.1:{site.ports[0]}/v1/chat/completions", json=body(model))
                times[model].append((time.perf_counter() - began) * 1e3)
                assert answer.status_code == 200, answer.text
            for model, taken in times.items():
                rounds[model].append(statistics.median(taken))
    added = [with_limits - without for without, with_limits in zip(rounds["free"], rounds["ample"], strict=True)][1:]
    return {"added_ms": statistics.median(added), "rounds": rounds}


def main() -> dict[str, object]:
    result: dict[str, object] = {"limits": {model: str(limits) for model, limits in MODELS.items()}}
    scenarios = {
        "gateway_killed_after_50_s": {50.0: "kill_gateway"},
        "state_away_from_20_to_50_s": {20.0: "kill_state", 50.0: "start_state"},
    }
    for name, events in scenarios.items():
        with ExitStack() as stack:
            site = Site(stack)
            began_s, counts = uvloop.run(load(site, MEASURED_S, events))
            result[name] = percent(counts, began_s, MEASURED_S)
            print(name, json.dumps(result[name]), flush=True)
    with ExitStack() as stack:
        site = Site(stack, gateways=1)
        time.sleep(2.5)
        result["cost"] = cost(site)
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    measured = main()
    print(json.dumps(measured, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(measured, indent=1) + "\n")
