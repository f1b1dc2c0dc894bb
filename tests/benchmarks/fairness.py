"""A chat tenant beside one that asks for 20 × its tokens, on real gateways and simulated engines: alone, FIFO, fair.

`python -m tests.benchmarks.fairness [--heavy chat] [--gateways 1] [--rounds 2] [--seconds 60] [--json OUT]` starts
engines and gateways itself, without Ray; tenants are told apart by a header. With `--url URL --model NAME --keys
LIGHT,HEAVY` it asks a running cluster, of as many replicas as `--replicas` says. FIFO: both are one tenant. The
requests are the simulator's.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import uvloop

from cluster.simulator.fairness.workload import HEAVY, LIGHT, SHAPES, Workload
from cluster.simulator.summary import percentile
from cluster.simulator.trace_request import TraceRequest
from deployments.gateway import app as gateway_app
from deployments.gateway.catalogue import Catalogue, ModelCard
from deployments.gateway.inference import Inference
from deployments.gateway.replica_table import ReplicaInfo, ReplicaTable
from deployments.gateway.server import Gateway
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.tenants.tenant import Tenant
from engine.launch import TOKEN_VARIABLE
from engine.simulated.profiles import get_profile
from tests.benchmarks.gateway_cpu import free_port, running
from tests.unit.gateway.keys import no_keys

MODEL, TOKEN = "m", "internal-token-of-the-benchmark"
TENANT_HEADER = b"x-benchmark-tenant"
ORDERS = ("alone", "fifo", "fair")


@dataclass
class Seen:
    """What clients saw of one phase."""

    ttft_ms: dict[str, list[float]] = field(default_factory=lambda: {LIGHT: [], HEAVY: []})
    tokens: int = 0
    refused: int = 0


@dataclass(frozen=True)
class Client:
    """Where requests go, and what says whose they are."""

    ports: list[tuple[str, int]]
    model: str
    headers: dict[str, str]

    async def ask(self, asked: TraceRequest, number: int, seen: Seen) -> None:
        """One stream on a connection of its own. Every event with text is a token."""
        host, port = self.ports[number % len(self.ports)]
        prompt = f"{number:x}.{os.getpid():x}.".ljust(4 * asked.input_tokens, "x")
        body = json.dumps(
            {"model": self.model, "prompt": prompt, "max_tokens": asked.output_tokens, "stream": True}
        ).encode()
        began_s = time.perf_counter()
        reader, writer = await asyncio.open_connection(host, port)
        try:
            head = f"POST /v1/completions HTTP/1.1\r\nhost: {host}\r\n{self.headers[asked.tenant]}"
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            status = int((await reader.readuntil(b"\r\n\r\n")).split()[1])
            tokens = 0
            while status == 200 and tokens < asked.output_tokens and (data := await reader.read(65536)):
                events = data.count(b'"text":')
                if events and not tokens:
                    seen.ttft_ms[asked.tenant].append(1000 * (time.perf_counter() - began_s))
                    seen.tokens += asked.input_tokens
                tokens += events
                seen.tokens += events
            seen.refused += status != 200
        finally:
            writer.transport.abort()


async def play(client: Client, workload: Workload, arguments: argparse.Namespace, order: str, seed: int) -> Seen:
    """Open loop: what is unfinished at the end is cut off, and counts as far as it came."""
    step, seen = get_profile(arguments.profile).step_time, Seen()
    asking: set[asyncio.Task[None]] = set()
    began_s = time.perf_counter()
    requests = workload.requests(step, arguments.replicas, seed, alone=order == "alone")
    for number, asked in enumerate(requests):
        await asyncio.sleep(max(0.0, began_s + asked.arrived_ms / 1000 - time.perf_counter()))
        asking.add(asyncio.create_task(client.ask(asked, number, seen)))
    await asyncio.sleep(max(0.0, began_s + workload.seconds - time.perf_counter()))
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    return seen


@contextmanager
def engines(count: int, profile: str) -> Iterator[list[int]]:
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, {TOKEN_VARIABLE: TOKEN}))
        ports = [free_port() for _ in range(count)]
        for port in ports:
            argv = [sys.executable, "-m", "engine.simulated", "--model", MODEL, "--port", str(port)]
            stack.enter_context(running([*argv, "--profile", profile], port))
        yield ports


@asynccontextmanager
async def gateways(count: int, engine_ports: list[int]) -> AsyncIterator[list[tuple[str, int]]]:
    """In this process, each with its own ledger and queue; they hear of each other through the engines' feeds."""
    infos = [
        ReplicaInfo(f"r{i}", f"http://127.0.0.1:{port}", TOKEN, max_in_flight=256, max_model_len=131_072)
        for i, port in enumerate(engine_ports)
    ]
    async with AsyncExitStack() as stack:
        ports = []
        for _ in range(count):
            catalogue = Catalogue()
            catalogue.replace({MODEL: ModelCard(MODEL, "simulated")})
            gateway = Gateway(GatewaySettings(queue_max_waiting=100_000), ReplicaTable(), catalogue, no_keys())
            await gateway.start("127.0.0.1", 0)
            stack.push_async_callback(gateway.close)
            gateway.set_replicas(MODEL, infos)
            ports.append(("127.0.0.1", gateway.bound_port))
        yield ports


def told_apart(backends: Any, card: Any, asked: Any, tenant: Tenant, request: Any, *rest: Any) -> Inference:
    """In place of a key: the tenant that the header names."""
    name = request.headers.get(TENANT_HEADER)
    return Inference(backends, card, asked, Tenant(name.decode()) if name else tenant, request, *rest)


async def phase(arguments: argparse.Namespace, workload: Workload, order: str, seed: int) -> Seen:
    if arguments.url:
        url, (light, heavy) = urlsplit(arguments.url), arguments.keys.split(",")
        keys = {LIGHT: light, HEAVY: light if order == "fifo" else heavy}
        headers = {tenant: f"authorization: Bearer {key}\r\n" for tenant, key in keys.items()}
        ports = [(url.hostname or "127.0.0.1", url.port or 80)]
        return await play(Client(ports, arguments.model, headers), workload, arguments, order, seed)
    names = {LIGHT: LIGHT, HEAVY: LIGHT if order == "fifo" else HEAVY}
    headers = {tenant: f"{TENANT_HEADER.decode()}: {name}\r\n" for tenant, name in names.items()}
    with (
        engines(arguments.replicas, arguments.profile) as engine_ports,
        mock.patch.object(gateway_app, "Inference", told_apart),
    ):
        async with gateways(arguments.gateways, engine_ports) as ports:
            return await play(Client(ports, MODEL, headers), workload, arguments, order, seed)


def row_of(order: str, seen: Seen, seconds: float) -> dict[str, Any]:
    light, heavy = seen.ttft_ms[LIGHT], seen.ttft_ms[HEAVY]
    return {
        "order": order,
        "light_requests": len(light),
        "light_ttft_p50_ms": round(percentile(light, 0.5), 1),
        "light_ttft_p99_ms": round(percentile(light, 0.99), 1),
        "heavy_ttft_p50_ms": round(percentile(heavy, 0.5), 1),
        "tokens_per_s": round(seen.tokens / seconds),
        "refused": seen.refused,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heavy", choices=SHAPES, default="chat")
    parser.add_argument("--load", type=float, default=1.3)
    parser.add_argument("--ratio", type=float, default=20.0)
    parser.add_argument("--profile", default="llama-3.1-70b-h100-tp4")
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--gateways", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--url")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--keys", help="API keys of the light and the heavy tenant, with a comma between them")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    workload = Workload(SHAPES[arguments.heavy], arguments.load, arguments.ratio, arguments.seconds)
    together, rows = {order: Seen() for order in ORDERS}, []
    for seed in range(arguments.rounds):
        for order in random.Random(seed).sample(ORDERS, len(ORDERS)):
            seen = uvloop.run(phase(arguments, workload, order, seed))
            rows.append({"round": seed, **row_of(order, seen, arguments.seconds)})
            print(rows[-1], flush=True)
            together[order].tokens += seen.tokens
            together[order].refused += seen.refused
            for tenant, ttft_ms in seen.ttft_ms.items():
                together[order].ttft_ms[tenant] += ttft_ms
    total = {order: row_of(order, seen, arguments.rounds * arguments.seconds) for order, seen in together.items()}
    alone, fifo, fair = (total[order] for order in ORDERS)
    result = {
        "workload": asdict(workload),
        "profile": arguments.profile,
        "replicas": arguments.replicas,
        "gateways": arguments.gateways,
        "light_ttft_p99_fair_over_alone": round(fair["light_ttft_p99_ms"] / alone["light_ttft_p99_ms"], 2),
        "light_ttft_p99_fifo_over_fair": round(fifo["light_ttft_p99_ms"] / fair["light_ttft_p99_ms"], 2),
        "tokens_per_s_fair_over_fifo": round(fair["tokens_per_s"] / fifo["tokens_per_s"], 3),
        "all_rounds": list(total.values()),
        "rounds": rows,
    }
    print(json.dumps(result, indent=1, default=str))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main()
