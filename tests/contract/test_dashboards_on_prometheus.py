"""No panel is empty where there is traffic; those that a renamed metric would empty are named. By a real Prometheus."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.contract.panels import what_is_missing
from tests.contract.prometheus import Prometheus, Renamed, needs_prometheus, running_prometheus
from tests.contract.simulated_site import MODEL, NODE, TENANT, simulated_site

pytestmark = [needs_prometheus, pytest.mark.slow]

WITHIN_S = 60.0
RENAMED = Renamed("vllm:kv_cache_usage_perc", "vllm:kv_cache_usage_ratio")
RENAMED_HISTOGRAM = Renamed("vllm:inter_token_latency_seconds", "vllm:itl_seconds")
OF_ALL: Mapping[str, str] = {}
OF_ONE = {"model": MODEL, "tenant": TENANT, "node": NODE}
SLO_RECORDED = ("5m", "30m", "1h", "6h", "3d")


@pytest.fixture
async def exporter(tmp_path: Path) -> AsyncIterator[str]:
    async with simulated_site(tmp_path) as address:
        yield address


async def settled(prometheus: Prometheus, expected: list[str], chosen: Mapping[str, str] = OF_ALL) -> list[str]:
    """What is missing once Prometheus has scraped a few times: as expected, or what it still is at the end."""
    missing = ["nothing was asked yet"]
    async with asyncio.timeout(10 * WITHIN_S):
        for _ in range(int(WITHIN_S)):
            missing = await what_is_missing(prometheus, chosen)
            if missing == expected:
                break
            await asyncio.sleep(1)
    return missing


async def evaluated_rules(prometheus: Prometheus) -> list[dict[str, Any]]:
    async with asyncio.timeout(WITHIN_S):
        while any(rule["health"] == "unknown" for rule in await prometheus.rules()):
            await asyncio.sleep(0.2)
    return await prometheus.rules()


async def test_no_panel_is_empty_and_every_rule_is_evaluated(exporter: str, tmp_path: Path) -> None:
    async with running_prometheus(tmp_path / "prometheus", [exporter]) as prometheus:
        assert await settled(prometheus, []) == []
        assert await settled(prometheus, [], OF_ONE) == []
        for rule in await evaluated_rules(prometheus):
            assert (rule["health"], rule.get("lastError")) == ("ok", None), rule["name"]
        for window in SLO_RECORDED:
            assert await prometheus.values(f"model:baryon_slo_missed:ratio_rate{window}"), window


async def test_a_renamed_metric_is_named_with_the_panels_that_it_empties(exporter: str, tmp_path: Path) -> None:
    expected = [
        "Baryon: overview / KV cache in use, fullest replica: vllm:kv_cache_usage_perc is not scraped",
        "Baryon: engines and KV cache / KV cache in use: vllm:kv_cache_usage_perc is not scraped",
        "Baryon: engines and KV cache / Engine time between tokens: "
        "vllm:inter_token_latency_seconds_bucket is not scraped",
    ]
    folder = tmp_path / "prometheus"
    async with running_prometheus(folder, [exporter], [RENAMED, RENAMED_HISTOGRAM]) as prometheus:
        assert await settled(prometheus, expected) == expected
