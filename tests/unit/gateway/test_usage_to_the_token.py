"""Gateways, simulated engines and a ledger without Ray: clients leave, a gateway is killed; each token is found."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from deployments.usage_ledger import UsageQuery, read_sums
from tests.benchmarks.gateway_cpu import free_port, running
from tests.verify.usage_load import MixedLoad, Tokens, Watch, accounted, engine_tokens, settled

TOKEN = "secret"
MODELS = ("mixed", "steady")
PROFILE = "llama-3.1-8b-h100-tp1"


class Bench:
    def __init__(self, folder: Path, engines: list[tuple[str, str, str]]) -> None:
        self.ledger_path = folder / "ledger.sqlite"
        self.port = free_port()
        self._engines = engines
        self.gateways: list[subprocess.Popen[str]] = []

    def start_gateway(self) -> None:
        at = [f"{model}={url}" for model, url, _ in self._engines]
        command = [
            sys.executable,
            "-m",
            "tests.verify.usage_gateway",
            str(self.port),
            str(self.ledger_path),
            TOKEN,
            *at,
        ]
        self.gateways.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))

    async def ready(self) -> None:
        for gateway in self.gateways:
            assert gateway.stdout is not None
            assert await asyncio.to_thread(gateway.stdout.readline) == "ready\n"

    async def engine_tokens(self) -> dict[str, Tokens]:
        return await engine_tokens(self._engines)

    async def ledger_tokens(self) -> dict[str, Tokens]:
        return accounted(read_sums(self.ledger_path, UsageQuery(by=("model",))))


@asynccontextmanager
async def bench(folder: Path, monkeypatch: pytest.MonkeyPatch, gateways: int) -> AsyncIterator[Bench]:
    monkeypatch.setenv("BARYON_INTERNAL_TOKEN", TOKEN)
    async with AsyncExitStack() as stack:
        engines = []
        for model in MODELS:
            port = free_port()
            command = [sys.executable, "-m", "engine.simulated", "--model", model, "--port", str(port)]
            await asyncio.to_thread(stack.enter_context, running([*command, "--profile", PROFILE], port))
            engines.append((model, f"http://127.0.0.1:{port}", TOKEN))
        made = Bench(folder, engines)
        try:
            for _ in range(gateways):
                made.start_gateway()
            await made.ready()
            yield made
        finally:
            for gateway in made.gateways:
                gateway.kill()
                gateway.wait()


@pytest.mark.slow
async def test_completed_and_aborted_requests_equal_the_engines_own_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(tmp_path, monkeypatch, gateways=1) as made:
        load = MixedLoad(made.port, MODELS, ["steady"], Random(3), embeds=True)
        await load.run(300, clients=16, leaving=0.3)
        assert await settled(made.engine_tokens, made.ledger_tokens) == dict.fromkeys(MODELS, Tokens())
        rows = {row["model"]: row for row in read_sums(made.ledger_path, UsageQuery(by=("model",)))}
        assert sum(row["requests"] for row in rows.values()) == 300
        assert rows["mixed"]["completed"] < rows["mixed"]["requests"]
        assert rows["mixed"]["surplus_output_tokens"] > 0
        steady = rows["steady"]
        assert steady["completed"] == steady["requests"]
        assert steady["surplus_output_tokens"] == steady["surplus_prompt_tokens"] == 0
        assert load.outcomes["200"] > 200, load.outcomes


@pytest.mark.slow
async def test_a_killed_gateway_loses_no_more_than_its_last_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(tmp_path, monkeypatch, gateways=2) as made:
        watch = Watch(made.engine_tokens)
        watching = asyncio.create_task(watch.run())
        load = MixedLoad(made.port, MODELS, ["steady"], Random(5), embeds=True, longest=200)
        loading = asyncio.create_task(load.run(300, clients=16))
        await asyncio.sleep(2.0)
        killed_at_s = asyncio.get_running_loop().time()
        os.kill(made.gateways[0].pid, signal.SIGKILL)
        at_most = await watch.last_second(killed_at_s)
        await loading
        watching.cancel()
        lost = await settled(made.engine_tokens, made.ledger_tokens)
        for model, tokens in lost.items():
            assert 0 <= tokens.prompt <= at_most[model].prompt, (lost, at_most)
            assert 0 <= tokens.output <= at_most[model].output, (lost, at_most)
        assert load.outcomes["cut"] > 0, load.outcomes
        await load.run(100, clients=16)
        assert await settled(made.engine_tokens, made.ledger_tokens, lost) == lost


@pytest.mark.slow
async def test_a_gateway_that_is_asked_to_go_leaves_nothing_untold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(tmp_path, monkeypatch, gateways=1) as made:
        load = MixedLoad(made.port, MODELS, MODELS, Random(7), embeds=True)
        loading = asyncio.create_task(load.run(60, clients=8))
        began_s = time.monotonic()
        while sum(load.outcomes.values()) < 40:
            assert time.monotonic() < began_s + 30
            await asyncio.sleep(0.01)
        made.gateways[0].terminate()
        await loading
        await asyncio.to_thread(made.gateways[0].wait, 30)
        assert await made.engine_tokens() == await made.ledger_tokens()
