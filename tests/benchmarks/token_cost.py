"""What a token costs of CPU in a gateway, vLLM's API server and its engine core, with everything seen and with nothing.

`python -m tests.benchmarks.token_cost [--rounds N] [--json OUT]`. Two engines of the tiniest model, whose tokens are
the cheapest, each behind a gateway of its own (`observed_gateway`): one pair with nothing, one with everything: vLLM's
per-request metrics, spans of every request from both, and a scrape every `SCRAPE_S`. In turn, in one run.
Workers, which compute and spin while they wait, are left out: with them the ratio would be smaller.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from cluster.bench.http_load import Target, post, run_streams
from cluster.bench.overhead_run import commit_id
from cluster.run_folder import store_folder
from engine.cpu import available_cores
from engine.engine_process import EngineProcess
from engine.launch import Command, EngineLaunch
from engine.memory_budget import GIB
from engine.probe import EngineProbe, Shown
from engine.vllm_command import vllm_command
from engine.weights.source import parse_source
from engine.weights.store import ModelStore
from tests.benchmarks.gateway_cpu import cpu_s, free_port, running

MODEL, SECRET = "tiny-random-llama", "of the benchmark"
STREAMS, TURNS, TOKENS = 8, 2, 128
SCRAPE_S = 15.0
START_TIMEOUT_S = 400
WORKER = "VLLM::Worker"
FLAG = "--enable-per-request-metrics"
MODULE = (sys.executable, "-m")


@dataclass(frozen=True)
class Chain:
    target: Target
    engine: EngineProcess
    gateway_pid: int

    def cpu_s(self) -> float:
        told = [member for member in self.engine.members() if not member.title.startswith(WORKER)]
        return cpu_s(self.gateway_pid) + sum(cpu_s(member.pid) for member in told)


def command_of(launch: EngineLaunch) -> Command:
    command = vllm_command(launch, available_cores())
    assert FLAG in command.argv
    return command if launch.trace_endpoint else replace(command, argv=tuple(w for w in command.argv if w != FLAG))


@asynccontextmanager
async def chain(level: str, folder: Path, traces: str) -> AsyncIterator[Chain]:
    launch = EngineLaunch(
        model=MODEL,
        model_path=ModelStore(store_folder()).materialise(parse_source(f"bundled:{MODEL}")),
        device="cpu",
        host="127.0.0.1",
        port=free_port(),
        internal_token=SECRET,
        kv_cache_bytes=GIB // 4,
        engine_args={"max_model_len": 1024},
        trace_endpoint=traces if level == "traced" else "",
    )
    engine, probe = EngineProcess(command_of(launch), folder / f"{level}.log", level), EngineProbe(launch)
    try:
        await probe.wait_ready(engine, START_TIMEOUT_S)
        port = free_port()
        gateway = [*MODULE, "tests.benchmarks.observed_gateway", level, str(port), probe.url, traces, SECRET, MODEL]
        with running(gateway, port) as pid:
            scraping = asyncio.create_task(scrape(probe.url)) if launch.trace_endpoint else None
            yield Chain(Target(level, "127.0.0.1", port), engine, pid)
            if scraping is not None:
                scraping.cancel()
    finally:
        await engine.kill()


async def token_us(one: Chain) -> float:
    body = {"model": MODEL, "prompt": "The capital of France", "max_tokens": TOKENS, "ignore_eos": True, "stream": True}
    request = post(one.target, "/v1/completions", body)
    before_s = one.cpu_s()
    _, replies = await run_streams(one.target, STREAMS, TURNS, lambda _: request)
    assert all(reply.status == 200 for reply in replies), replies[0]
    return (one.cpu_s() - before_s) / (STREAMS * TURNS * TOKENS) * 1e6


async def scrape(engine_url: str) -> None:
    async with httpx.AsyncClient(auth=Shown(SECRET), trust_env=False) as client:
        while True:
            (await client.get(f"{engine_url}/metrics")).raise_for_status()
            await asyncio.sleep(SCRAPE_S)


async def measure(rounds: int) -> dict[str, object]:
    traces_port = free_port()
    traces = f"http://127.0.0.1:{traces_port}/v1/traces"
    rows: dict[str, list[float]] = {"off": [], "traced": []}
    sink = [*MODULE, "tests.benchmarks.otlp_sink", str(traces_port)]
    with tempfile.TemporaryDirectory() as folder, running(sink, traces_port):
        async with AsyncExitStack() as stack:
            chains = [await stack.enter_async_context(chain(level, Path(folder), traces)) for level in rows]
            for one in chains:
                await token_us(one)
            for number in range(rounds):
                for one in chains[:: 1 if number % 2 else -1]:
                    rows[one.target.name].append(await token_us(one))
    return {
        "token_us": {name: statistics.median(values) for name, values in rows.items()},
        "ratio": statistics.median(on / off for off, on in zip(rows["off"], rows["traced"], strict=True)),
        "rounds": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    result = {"benchmark": "token_cost", "commit": commit_id(), **asyncio.run(measure(arguments.rounds))}
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
