"""`python -m tests.benchmarks.lone_gateway PORT ENGINE_URL [TOKEN] [MODEL]`: one gateway, one engine, no Ray."""

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import uvloop

from deployments.gateway.catalogue import Catalogue, ModelCard
from deployments.gateway.replica_table import ReplicaInfo, ReplicaTable
from deployments.gateway.request_metrics import FLUSH_S, RequestMetrics
from deployments.gateway.server import Gateway
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.usage_counts import Row
from deployments.gateway.usage_reporter import UsageReporter
from monitoring.label_slots import LabelSlots
from monitoring.process_files import write_to_files
from tests.unit.gateway.keys import no_keys


async def main(port: int, url: str, token: str = "none", model: str = "m") -> None:
    replicas, catalogue = ReplicaTable(), Catalogue()
    replicas.update(model, [ReplicaInfo("r0", url, token, max_in_flight=100_000, max_model_len=4096)])
    catalogue.replace({model: ModelCard(model, "simulated")})
    gateway = Gateway(GatewaySettings(), replicas, catalogue, no_keys())
    counting = asyncio.create_task(count(gateway))
    await gateway.start("127.0.0.1", port)
    await UsageReporter(gateway.app.routers.gateway_id, gateway.app.tally, forget).run()
    counting.cancel()


async def count(gateway: Gateway) -> None:
    """As its deployment does."""
    with tempfile.TemporaryDirectory() as folder:
        files = write_to_files(Path(folder))
        metrics = RequestMetrics(LabelSlots(files.folder / "tenants.jsonl", 400))
        gateway.app.observers.append(metrics)
        while True:
            await asyncio.sleep(FLUSH_S)
            metrics.flush()


async def forget(gateway_id: str, batch: int, rows: Sequence[Row]) -> None:
    """State that believes everything."""


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), *sys.argv[2:]))
