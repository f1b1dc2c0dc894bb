"""`python -m tests.benchmarks.observed_gateway PORT ENGINE_URL [TRACES]`: a lone gateway with a cluster gateway's

observers: metrics in files, and the log of requests that went wrong. TRACES: where spans of every request go, too.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import uvloop

from deployments.gateway.catalogue import Catalogue, ModelCard
from deployments.gateway.replica_table import ReplicaInfo, ReplicaTable
from deployments.gateway.request_log import log_request
from deployments.gateway.server import Gateway
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.usage_reporter import UsageReporter
from monitoring.label_slots import LabelSlots
from monitoring.process_files import write_to_files
from tests.benchmarks.lone_gateway import forget
from tests.unit.gateway.keys import no_keys

MODEL, KNOWN_TENANTS = "m", 400


async def main(port: int, url: str, folder: Path, traces: str | None) -> None:
    files = write_to_files(folder)
    from deployments.gateway.request_metrics import FLUSH_S, RequestMetrics

    replicas, catalogue = ReplicaTable(), Catalogue()
    replicas.update(MODEL, [ReplicaInfo("r0", url, "none", max_in_flight=100_000, max_model_len=4096)])
    catalogue.replace({MODEL: ModelCard(MODEL, "simulated")})
    gateway = Gateway(GatewaySettings(), replicas, catalogue, no_keys())
    slots = LabelSlots(files.folder / "tenants.jsonl", KNOWN_TENANTS)
    metrics = RequestMetrics(slots)
    gateway.app.observers += [log_request, metrics]
    if traces is not None:
        from deployments.gateway.tracing import OtlpTracing

        gateway.app.tracing = OtlpTracing(gateway.app.routers.gateway_id, traces, sample=1.0)
    await gateway.start("127.0.0.1", port)
    reporting = asyncio.create_task(UsageReporter(gateway.app.routers.gateway_id, gateway.app.tally, forget).run())
    while not reporting.done():
        await asyncio.sleep(FLUSH_S)
        metrics.flush()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        uvloop.run(main(int(sys.argv[1]), sys.argv[2], Path(temporary), sys.argv[3] if len(sys.argv) > 3 else None))
