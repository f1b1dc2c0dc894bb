"""A real Prometheus, Debian's, with a configuration, a port and a folder of its own."""

import asyncio
import math
import shutil
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

RULES = Path(__file__).parents[2] / "monitoring/alerts/baryon.yaml"
START_TIMEOUT_S, QUERY_TIMEOUT_S = 60.0, 30.0
SCRAPE_INTERVAL_S = 1

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="Prometheus is not installed: apt-get install prometheus"
)


@dataclass(frozen=True, slots=True)
class Series:
    labels: Mapping[str, str]
    value: float


class Prometheus:
    """Asks one that runs."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def values(self, expr: str) -> list[float]:
        """Of all series now; those that are no number (0 of 0) are left out."""
        return [row.value for row in await self.series(expr)]

    async def series(self, expr: str) -> list[Series]:
        """As `values`, with their labels."""
        result = (await self._get("query", query=expr))["result"]
        rows = [Series(row["metric"], float(row["value"][1])) for row in result]
        return [row for row in rows if not math.isnan(row.value)]

    async def label_values(self, metric: str, label: str) -> list[str]:
        """As Grafana asks for what a variable offers."""
        return list(await self._get(f"label/{label}/values", **{"match[]": metric}))

    async def history(self, expr: str) -> list[list[float]]:
        """Of a range vector, each series from its oldest value on."""
        result = (await self._get("query", query=expr))["result"]
        return [[float(value) for _, value in row["values"]] for row in result]

    async def names(self) -> set[str]:
        """Of all metrics that were ever scraped or recorded."""
        return set(await self._get("label/__name__/values"))

    async def scrape_errors(self) -> list[str]:
        """The last of each target that has been scraped; empty where it went well."""
        targets = (await self._get("targets"))["activeTargets"]
        return [target["lastError"] for target in targets if target["health"] != "unknown"]

    async def rules(self) -> list[dict[str, Any]]:
        groups = (await self._get("rules"))["groups"]
        return [rule for group in groups for rule in group["rules"]]

    async def _get(self, path: str, **parameters: str) -> Any:
        answer = await self._client.get(f"/api/v1/{path}", params=parameters)
        document = answer.json()
        assert document["status"] == "success", document
        return document["data"]


@dataclass(frozen=True, slots=True)
class Renamed:
    """A metric that is called otherwise from now on, as after an upgrade of vLLM."""

    was: str
    now: str


@asynccontextmanager
async def running_prometheus(
    folder: Path, targets: Sequence[str], renamed: Sequence[Renamed] = (), *, features: Sequence[str] = ()
) -> AsyncIterator[Prometheus]:
    """`targets`: exporters, as `host:port`; `features`: of Prometheus's own, as `--enable-feature` has them."""
    folder.mkdir(parents=True)
    config, port = folder / "prometheus.yaml", _free_port()
    config.write_text(yaml.safe_dump(_config(targets, renamed)))
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    command += [f"--enable-feature={feature}" for feature in features]
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=QUERY_TIMEOUT_S) as client:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not await _is_ready(client):
                    assert process.returncode is None, (folder / "log").read_text()
                    await asyncio.sleep(0.05)
            yield Prometheus(client)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _config(targets: Sequence[str], renamed: Sequence[Renamed]) -> Mapping[str, Any]:
    relabel = [
        {
            "source_labels": ["__name__"],
            "regex": f"{metric.was}(_bucket|_sum|_count)?",
            "target_label": "__name__",
            "replacement": f"{metric.now}${{1}}",
        }
        for metric in renamed
    ]
    return {
        "global": {"scrape_interval": f"{SCRAPE_INTERVAL_S}s", "evaluation_interval": f"{SCRAPE_INTERVAL_S}s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {
                "job_name": "baryon",
                "scrape_timeout": f"{SCRAPE_INTERVAL_S}s",
                "honor_labels": True,
                "static_configs": [{"targets": list(targets)}],
                "metric_relabel_configs": relabel,
            }
        ],
    }


async def _is_ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/-/ready")).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
