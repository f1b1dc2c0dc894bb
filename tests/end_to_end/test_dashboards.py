"""Dashboards over a real cluster with real vLLM: none has an empty panel, Ray's own shows us, and no alert fires."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
import ray
from ray.dashboard.modules.metrics.dashboards.common import Panel as RayPanel
from ray.dashboard.modules.metrics.dashboards.serve_dashboard_panels import SERVE_GRAFANA_PANELS

from monitoring import metrics
from tests.contract.panels import what_is_missing
from tests.contract.prometheus import Prometheus, needs_prometheus, running_prometheus
from tests.end_to_end.cluster_process import ClusterProcess
from tests.end_to_end.conftest import CHAT, TINY

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
OF_A_MODEL = ("QPS", "P50 latency", "P90 latency", "P99 latency")
OF_RAY_S_SERVE_PAGE = {
    **{f"{what} per application": (CHAT,) for what in OF_A_MODEL},
    **{f"{what} per deployment": ("gateway", CHAT) for what in OF_A_MODEL},
    "Replicas per deployment": ("gateway", "state", CHAT),
}
OF_A_CLUSTER_THAT_IS_ILL = ("BaryonNoGateway", "BaryonStateAway", "BaryonScrapeTargetDown", "BaryonEngineStuck")


async def test_no_panel_is_empty_with_vllm(cluster: ClusterProcess, tmp_path: Path) -> None:
    exporter = cluster.metrics_url.removeprefix("http://")
    missing = ["nothing was asked yet"]
    async with running_prometheus(tmp_path / "prometheus", [exporter]) as prometheus, traffic(cluster):
        deadline_s = asyncio.get_running_loop().time() + WITHIN_S
        while missing and asyncio.get_running_loop().time() < deadline_s:
            await asyncio.sleep(1)
            missing = await what_is_missing(prometheus, {"model": CHAT}, NEED_NOT_HAVE_HAPPENED)
        assert missing == []
        degree = f"{metrics.TENSOR_PARALLEL.name}{{model=~'{CHAT}|{TINY}'}}"
        assert sorted(await prometheus.values(degree)) == [1, 2]
        firing = {rule["name"] for rule in await prometheus.rules() if rule.get("state") == "firing"}
        assert not firing & set(OF_A_CLUSTER_THAT_IS_ILL)


async def test_ray_s_own_serve_page_shows_rates_and_latencies_of_our_deployments(
    cluster: ClusterProcess, tmp_path: Path
) -> None:
    assert cluster.live
    (node,) = ray.nodes()
    ray_s_exporter = f"127.0.0.1:{node['MetricsExportPort']}"
    wanted = {
        (title, application) for title, applications in OF_RAY_S_SERVE_PAGE.items() for application in applications
    }
    shown: set[tuple[str, str]] = set()
    async with running_prometheus(tmp_path / "prometheus", [ray_s_exporter]) as prometheus, traffic(cluster):
        deadline_s = asyncio.get_running_loop().time() + WITHIN_S
        while shown != wanted and asyncio.get_running_loop().time() < deadline_s:
            await asyncio.sleep(1)
            shown = wanted & {pair for panel in SERVE_GRAFANA_PANELS for pair in await shown_by(panel, prometheus)}
    assert shown == wanted


async def shown_by(panel: RayPanel, prometheus: Prometheus) -> list[tuple[str, str]]:
    """Its title and each application that has a number other than 0 in it."""
    if panel.title not in OF_RAY_S_SERVE_PAGE:
        return []
    queries = [target.expr.format(global_filters="") for target in panel.targets if "grpc" not in target.expr]
    chosen = [query.replace("$Application", ".*").replace("$HTTP_Route", ".*") for query in queries]
    rows = [row for query in chosen for row in await prometheus.series(query)]
    return [(panel.title, row.labels.get("application", "")) for row in rows if row.value > 0]


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
