"""5,000 mixed requests, a tenth of whose clients leave, and two gateways killed: the ledger against the engines."""

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from random import Random
from typing import Any

import orjson
import pytest

from cluster.bench.overhead_run import commit_id, write_json
from deployments.usage_ledger import UsageQuery
from tests.end_to_end.cluster_process import ClusterProcess
from tests.verify.results import RESULTS
from tests.verify.usage_load import MixedLoad, Tokens, Watch, accounted, difference, engine_tokens, settled

pytestmark = pytest.mark.verify
REPLICAS = {"mixed-a": 2, "mixed-b": 1, "steady": 1}
MODELS = tuple(REPLICAS)
CONFIG = "\nmodels:\n" + "".join(
    f"  - {{name: {name}, engine: simulated, profile: llama-3.1-8b-h100-tp1, cpus_per_replica: 0.1,"
    f" max_in_flight: 64, replicas: {{min: {count}}}}}\n"
    for name, count in REPLICAS.items()
)
CLIENTS = 24
LEAVING = 0.15
"""Of the clients of two models of three, so a tenth of all."""
QUIET_STAGES, KILL_STAGE = (2_000, 1_250, 1_000), 375


class Cluster:
    """What the engines and the ledger of a running cluster say."""

    def __init__(self, process: ClusterProcess) -> None:
        self.process = process
        self._engines: list[tuple[str, str, str]] = []

    def find_engines(self) -> None:
        """A handle asks any replica of a model: until each has answered. None is replaced during the run."""
        snapshot = self.process.live.snapshot()
        assert snapshot is not None
        for card in snapshot["models"]:
            found: dict[str, str] = {}
            while len(found) < REPLICAS[card["name"]]:
                replica = self.process.live.first_replica(card["application"])
                found[replica["url"]] = replica["token"]
            self._engines += [(card["name"], url, token) for url, token in found.items()]

    async def engine_tokens(self) -> dict[str, Tokens]:
        return await engine_tokens(self._engines)

    async def rows(self, query: UsageQuery) -> list[dict[str, Any]]:
        rows = await asyncio.to_thread(self.process.live.usage, query)
        assert rows is not None
        return rows

    async def ledger_tokens(self) -> dict[str, Tokens]:
        return accounted(await self.rows(UsageQuery(by=("model",))))

    def gateways(self) -> dict[str, int]:
        application = next(a for a in self.process.status()["applications"] if a["name"] == "gateway")
        return {replica["id"]: replica["pid"] for replica in application["replicas"]}

    def wait_for_gateways(self, count: int, gone: str) -> None:
        deadline_s = time.monotonic() + 60
        while gone in (there := self.gateways()) or len(there) < count:
            assert time.monotonic() < deadline_s, there
            time.sleep(0.5)


class Run:
    def __init__(self, cluster: Cluster, before: dict[str, Tokens]) -> None:
        """`before`: what engines had counted when it began: a replica warms its engine up."""
        self._cluster = cluster
        self.load = MixedLoad(cluster.process.port, MODELS, ["steady"], Random(11), embeds=True)
        self.lost = before
        self.kills: list[dict[str, Any]] = []

    async def quiet(self, requests: int) -> None:
        """Nobody is killed: engines and ledger part by exactly what was lost before."""
        await self.load.run(requests, CLIENTS, LEAVING)
        found = await settled(self._cluster.engine_tokens, self._cluster.ledger_tokens, self.lost)
        assert found == self.lost

    async def with_a_kill(self, requests: int) -> None:
        gateways = await asyncio.to_thread(self._cluster.gateways)
        victim, pid = sorted(gateways.items())[0]
        watch = Watch(self._cluster.engine_tokens)
        watching = asyncio.create_task(watch.run())
        loading = asyncio.create_task(self.load.run(requests, CLIENTS, LEAVING))
        await asyncio.sleep(2.5)
        at_s = asyncio.get_running_loop().time()
        os.kill(pid, signal.SIGKILL)
        at_most = await watch.last_second(at_s)
        await loading
        watching.cancel()
        await asyncio.to_thread(self._cluster.wait_for_gateways, len(gateways), victim)
        found = await settled(self._cluster.engine_tokens, self._cluster.ledger_tokens, self.lost)
        lost = {model: tokens - self.lost[model] for model, tokens in found.items()}
        self.kills.append({"lost": _plain(lost), "counted_by_engines_in_the_last_second": _plain(at_most)})
        for model, tokens in lost.items():
            assert 0 <= tokens.prompt <= at_most[model].prompt, (lost, at_most)
            assert 0 <= tokens.output <= at_most[model].output, (lost, at_most)
        self.lost = found


def _plain(tokens: dict[str, Tokens]) -> dict[str, dict[str, int]]:
    return {model: {"prompt": each.prompt, "output": each.output} for model, each in tokens.items()}


async def run_all(cluster: Cluster) -> None:
    before = await cluster.engine_tokens()
    run = Run(cluster, before)
    await run.quiet(QUIET_STAGES[0])
    await check_completed(cluster, before["steady"])
    await run.with_a_kill(KILL_STAGE)
    await run.quiet(QUIET_STAGES[1])
    await run.with_a_kill(KILL_STAGE)
    await run.quiet(QUIET_STAGES[2])
    rows = await cluster.rows(UsageQuery())
    await restart_state(cluster)
    assert await cluster.rows(UsageQuery()) == rows
    assert orjson.loads(cluster.process.run("usage", "--json").stdout) == rows
    write_json(_result(run, rows, difference(await cluster.engine_tokens(), before)), RESULTS / "usage.json")
    assert sum(run.load.outcomes.values()) == sum(QUIET_STAGES) + 2 * KILL_STAGE
    assert all(row["tenant"] == "anyone" for row in rows)


async def check_completed(cluster: Cluster, before: Tokens) -> None:
    """Of the model whose clients all stayed: what engines counted is what was delivered, and nothing else."""
    (row,) = await cluster.rows(UsageQuery(model="steady", by=("model",)))
    counted = (await cluster.engine_tokens())["steady"] - before
    assert (row["prompt_tokens"], row["output_tokens"]) == (counted.prompt, counted.output)
    assert row["requests"] == row["completed"]
    assert row["surplus_prompt_tokens"] == row["surplus_output_tokens"] == 0


async def restart_state(cluster: Cluster) -> None:
    """SIGKILL: what it had confirmed is there again when it is."""
    application = next(a for a in cluster.process.status()["applications"] if a["name"] == "state")
    os.kill(application["replicas"][0]["pid"], signal.SIGKILL)
    deadline_s = time.monotonic() + 60
    while await asyncio.to_thread(cluster.process.live.usage, UsageQuery()) is None:
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.5)


def _result(run: Run, rows: Sequence[dict[str, Any]], engines: dict[str, Tokens]) -> dict[str, Any]:
    return {
        "benchmark": "usage",
        "commit": commit_id(),
        "requests": sum(run.load.outcomes.values()),
        "outcomes": run.load.outcomes,
        "ledger": list(rows),
        "engines": _plain(engines),
        "not_in_the_ledger": _plain(difference(engines, accounted(rows))),
        "kills": run.kills,
    }


def test_every_token_is_accounted_for() -> None:
    process = ClusterProcess(CONFIG, gateway_processes=2)
    try:
        process.start()
        cluster = Cluster(process)
        cluster.find_engines()
        asyncio.run(run_all(cluster))
        assert process.stop() == []
    finally:
        process.remove()
