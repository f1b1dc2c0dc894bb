"""A real Prometheus that is told to take native histograms gets them, and quantiles without buckets in the query."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from monitoring.engine_scrape import Engine
from monitoring.exporter import Exporter, NodeNames
from monitoring.exporter_app import exporter_app
from monitoring.native_buckets import FACTOR
from monitoring.node_files import NodeFiles
from monitoring.reference import NATIVE_QUERIES
from tests.contract.counting_gateway import TTFTS_MS, CountingGateway
from tests.contract.prometheus import Prometheus, needs_prometheus, running_prometheus
from tests.contract.simulated_site import served
from tests.unit.monitoring.engines import engine

pytestmark = [needs_prometheus, pytest.mark.slow]

WITHIN_S = 60.0
TTFT = "baryon_request_ttft_seconds"
BUILD = {"version": "1", "ray": "2", "vllm": "3", "python": "3.11"}
NATIVE = ("native-histograms",)


@asynccontextmanager
async def exporter_of(files: Path) -> AsyncIterator[str]:
    """As `host:port`, beside an engine."""
    exporter = Exporter(NodeFiles(files), NodeNames("here", "ab12", "127.0.0.1"), BUILD)
    async with engine() as url, served(exporter_app(exporter, lambda: ())) as port:
        exporter.board.replace([Engine("m", "r0", url, dict)], 0.0)
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await exporter.close()


async def counted_until(
    gateway: CountingGateway, prometheus: Prometheus, query: str, enough: Callable[[list[float]], bool]
) -> list[float]:
    """Rounds of requests go on until the query's values are `enough`."""
    found: list[float] = []
    async with asyncio.timeout(WITHIN_S):
        while not enough(found):
            await gateway.count_round()
            await asyncio.sleep(0.1)
            found = await prometheus.values(query)
    return found


@pytest.mark.parametrize("percent", [50, 99])
async def test_quantiles_need_no_bounds_and_are_within_the_schemas_error(tmp_path: Path, percent: int) -> None:
    true_s = sorted(TTFTS_MS)[percent * len(TTFTS_MS) // 100] / 1000
    files, folder = tmp_path / "files", tmp_path / "prometheus"
    gateway = await CountingGateway.started(files)
    async with exporter_of(files) as exporter, running_prometheus(folder, [exporter], features=NATIVE) as prometheus:
        (told_s,) = await counted_until(
            gateway, prometheus, f"histogram_quantile({percent / 100}, sum(rate({TTFT}[1m])))", bool
        )
        assert true_s / FACTOR <= told_s <= true_s * FACTOR
        assert await prometheus.scrape_errors() == [""]
        for query in NATIVE_QUERIES:
            (value,) = await prometheus.values(query)
            assert value > 0, query
        names = await prometheus.names()
    await gateway.kill()
    assert {TTFT, "baryon_prompt_tokens_total", "baryon_replica_up", "vllm:iteration_tokens_total_bucket"} <= names
    assert f"{TTFT}_bucket" not in names, "this Prometheus takes the native buckets instead"


async def test_a_killed_gateway_takes_no_native_count_with_it(tmp_path: Path) -> None:
    files, folder, count = tmp_path / "files", tmp_path / "prometheus", f"histogram_count({TTFT})"
    first = await CountingGateway.started(files)
    async with exporter_of(files) as exporter, running_prometheus(folder, [exporter], features=NATIVE) as prometheus:
        await counted_until(first, prometheus, count, bool)
        await first.kill()
        second = await CountingGateway.started(files)
        await counted_until(second, prometheus, count, lambda found: found > [first.counted + len(TTFTS_MS)])
        history: list[float] = []
        async with asyncio.timeout(WITHIN_S):
            while history[-1:] != [first.counted + second.counted]:
                await asyncio.sleep(0.1)
                (history,) = await prometheus.history(f"{count}[2m:1s]")
        assert history == sorted(history)
        assert history[0] <= first.counted
        assert await prometheus.scrape_errors() == [""]
    await second.kill()


async def test_one_that_is_not_told_to_gets_the_classic_ones(tmp_path: Path) -> None:
    files, folder = tmp_path / "files", tmp_path / "prometheus"
    gateway = await CountingGateway.started(files)
    async with exporter_of(files) as exporter, running_prometheus(folder, [exporter]) as prometheus:
        query = f"histogram_quantile(0.5, sum by (le) (rate({TTFT}_bucket[1m])))"
        assert await counted_until(gateway, prometheus, query, bool)
        assert await prometheus.values(TTFT) == []
        assert await prometheus.scrape_errors() == [""]
    await gateway.kill()
