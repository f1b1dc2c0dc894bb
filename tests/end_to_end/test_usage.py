"""The ledger against vLLM's own counters, through the gateway and Ray Serve."""

import asyncio
from random import Random
from typing import Any

import orjson
import pytest

from deployments.usage_ledger import UsageQuery
from tests.end_to_end.cluster_process import ClusterProcess
from tests.end_to_end.conftest import EMBED, TINY
from tests.verify.usage_load import MixedLoad, Tokens, accounted, engine_tokens, settled

pytestmark = pytest.mark.verify


async def test_delivered_and_surplus_are_what_vllm_counts(cluster: ClusterProcess) -> None:
    """vLLM counts a prompt for each of `n` answers, so here `n` is 1."""
    replica = await asyncio.to_thread(cluster.live.first_replica, TINY)

    async def engines() -> dict[str, Tokens]:
        return await engine_tokens([(TINY, replica["url"], replica["token"])])

    async def ledger() -> dict[str, Tokens]:
        rows = await asyncio.to_thread(cluster.live.usage, UsageQuery(model=TINY, by=("model",)))
        return accounted(rows or [])

    before = await settled(engines, ledger)
    load = MixedLoad(cluster.port, [TINY], [], Random(2), embeds=False, longest=60, most_choices=1)
    await load.run(250, clients=12, leaving=0.15)
    assert await settled(engines, ledger, before) == before
    assert load.outcomes["200"] > 150, load.outcomes
    rows = await asyncio.to_thread(cluster.live.usage, UsageQuery(model=TINY, by=("model",)))
    assert rows is not None
    assert rows[0]["surplus_output_tokens"] > 0


def used(cluster: ClusterProcess, model: str) -> dict[str, Any]:
    rows = orjson.loads(cluster.run("usage", "--json", "--model", model, "--by", "model").stdout)
    return dict(rows[0]) if rows else {"requests": 0, "completed": 0, "prompt_tokens": 0, "output_tokens": 0}


async def test_embeddings_count_their_prompt(cluster: ClusterProcess) -> None:
    before = used(cluster, EMBED)
    told = cluster.post("/v1/embeddings", {"model": EMBED, "input": ["one two", "three"]}).json()["usage"]
    await asyncio.sleep(1.5)  # the ledger is at most a second behind
    after = used(cluster, EMBED)
    assert after["prompt_tokens"] - before["prompt_tokens"] == told["prompt_tokens"] > 0
    assert after["completed"] - before["completed"] == 1
    assert after["output_tokens"] == before["output_tokens"]
