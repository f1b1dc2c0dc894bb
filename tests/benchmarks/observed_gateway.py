"""`python -m tests.benchmarks.observed_gateway LEVEL PORT ENGINE_URL [TRACES] [TOKEN] [MODEL]`: a lone gateway of which
is known what LEVEL says.

`off`: nothing: no stages, no `Server-Timing` but its name, no record is kept (the time between two pieces of a stream
is still taken). `record`: those, which every gateway has. `observed`: also all that a cluster's gateway tells of each
request: metrics in files, the log of requests that went wrong, the console's last minute, Ray's Serve pages. `traced`:
also spans of every request, sent to TRACES.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import uvloop

from deployments.admin.last_minute import LastMinute
from deployments.gateway.catalogue import Catalogue, ModelCard
from deployments.gateway.recent_requests import RecentRequests
from deployments.gateway.replica_table import ReplicaInfo, ReplicaTable
from deployments.gateway.request_log import log_request
from deployments.gateway.request_record import RequestRecord
from deployments.gateway.server import Gateway
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.stages import Stages
from deployments.gateway.usage_reporter import UsageReporter
from monitoring.label_slots import LabelSlots
from monitoring.process_files import write_to_files
from tests.benchmarks.lone_gateway import forget
from tests.unit.gateway.keys import no_keys

LEVELS = ("off", "record", "observed", "traced")
KNOWN_TENANTS = 400
PAGES_PERIOD_S = 5.0


def record_nothing() -> None:
    for owner, name, instead in (
        (Stages, "enter", lambda self, stage: None),
        (RequestRecord, "server_timing", lambda self: b""),
        (RecentRequests, "keep", lambda self, record: None),
    ):
        setattr(owner, name, instead)


async def observe(gateway: Gateway, folder: Path) -> None:
    """As its deployment does, for ever."""
    files = write_to_files(folder)
    from deployments.gateway.request_metrics import FLUSH_S, RequestMetrics
    from deployments.serve_page_metrics import ServePageMetrics

    metrics = RequestMetrics(LabelSlots(files.folder / "tenants.jsonl", KNOWN_TENANTS))
    pages = ServePageMetrics("gateway")
    gateway.app.observers += [log_request, LastMinute(), metrics, pages]
    loop = asyncio.get_running_loop()
    told_s = loop.time()
    while True:
        await asyncio.sleep(FLUSH_S)
        metrics.flush()
        if loop.time() - told_s > PAGES_PERIOD_S:
            told_s = loop.time()
            pages.publish(gateway.app, {})


async def main(
    level: str, port: int, url: str, folder: Path, traces: str, token: str = "none", model: str = "m"
) -> None:
    if level == "off":
        record_nothing()
    replicas, catalogue = ReplicaTable(), Catalogue()
    replicas.update(model, [ReplicaInfo("r0", url, token, max_in_flight=100_000, max_model_len=4096)])
    catalogue.replace({model: ModelCard(model, "simulated")})
    gateway = Gateway(GatewaySettings(), replicas, catalogue, no_keys())
    observing = [asyncio.create_task(observe(gateway, folder))] if level in ("observed", "traced") else []
    if level == "traced":
        from deployments.gateway.tracing import OtlpTracing

        gateway.app.tracing = OtlpTracing(gateway.app.routers.gateway_id, traces, sample=1.0)
    await gateway.start("127.0.0.1", port)
    reporter = UsageReporter(gateway.app.routers.gateway_id, gateway.app.tally, forget)
    await asyncio.gather(reporter.run(), *observing)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        level, port, url, traces, *more = *sys.argv[1:4], *(sys.argv[4:] or [""])
        uvloop.run(main(level, int(port), url, Path(temporary), traces, *more))
