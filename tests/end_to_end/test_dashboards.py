"""Dashboards over a real cluster with real vLLM: no panel is empty, and no alert fires for a cluster that is well."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

from monitoring import metrics
from tests.contract.panels import what_is_missing
from tests.contract.prometheus import needs_prometheus, running_prometheus
from tests.end_to_end.cluster_process import ClusterProcess
from tests.end_to_end.conftest import CHAT

pytestmark = [pytest.mark.cluster, pytest.mark.engine, needs_prometheus]

WITHIN_S = 120.0
NEED_NOT_HAVE_HAPPENED = (
    metrics.SHED,
    metrics.LIMITED,
    metrics.KEY_ERRORS,
    metrics.FAILOVERS,
    metrics.CHANGES,
    metrics.REPLICA_FAILURES,
)
OF_A_CLUSTER_THAT_IS_ILL = ("BaryonNoGateway", "BaryonStateAway", "BaryonScrapeTargetDown", "BaryonEngineStuck")


async def test_no_panel_is_empty_with_vllm(cluster: ClusterProcess, tmp_path: Path) -> None:
    exporter = cluster.metrics_url.removeprefix("http://")
    missing = ["nothing was asked yet"]
    async with running_prometheus(tmp_path / "prometheus", [exporter]) as prometheus, traffic(cluster):
        deadline_s = asyncio.get_running_loop().time() + WITHIN_S
        while missing and asyncio.get_running_loop().time() < deadline_s:
            await asyncio.sleep(1)
            missing = await what_is_missing(prometheus, CHAT, NEED_NOT_HAVE_HAPPENED)
        assert missing == []
        firing = {rule["name"] for rule in await prometheus.rules() if rule.get("state") == "firing"}
        assert not firing & set(OF_A_CLUSTER_THAT_IS_ILL)


@asynccontextmanager
async def traffic(cluster: ClusterProcess) -> AsyncIterator[None]:
    """A conversation that grows and begins anew, as a stream and whole."""
    talking = asyncio.create_task(_talk(cluster.url))
    try:
        yield
    finally:
        talking.cancel()
        with suppress(asyncio.CancelledError):
            await talking


async def _talk(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        for turn in itertools.count():
            history = [{"role": "user", "content": "Count for me. " * (10 + 10 * (turn % 5))}]
            body = {"model": CHAT, "messages": history, "max_tokens": 8, "stream": turn % 2 == 0}
            (await client.post("/v1/chat/completions", json=body)).raise_for_status()
