"""`python -m tests.verify.usage_gateway PORT LEDGER TOKEN MODEL=URL ...`: a gateway without Ray, its usage in a file.

Several share the port and the file; a SIGKILL ends one as it would end a Serve replica.
"""

import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from deployments.gateway.catalogue import Catalogue, ModelCard
from deployments.gateway.replica_table import ReplicaInfo, ReplicaTable
from deployments.gateway.server import Gateway
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.usage_counts import Row
from deployments.gateway.usage_reporter import UsageReporter
from deployments.usage_ledger import UsageLedger
from tests.unit.gateway.keys import no_keys


def replica(name: str, url: str, token: str) -> ReplicaInfo:
    return ReplicaInfo(name, url, token, max_in_flight=256, max_model_len=8192)


async def main(port: int, path: Path, token: str, *engines: str) -> None:
    ledger = UsageLedger(path)
    replicas, catalogue = ReplicaTable(), Catalogue()
    urls: dict[str, list[str]] = {}
    for model, _, url in (engine.partition("=") for engine in engines):
        urls.setdefault(model, []).append(url)
    gateway = Gateway(GatewaySettings(), replicas, catalogue, no_keys())
    catalogue.replace({model: ModelCard(model, "simulated") for model in urls})
    for model, at in urls.items():
        gateway.set_replicas(model, [replica(f"{model}-{number}", url, token) for number, url in enumerate(at)])

    async def tell(gateway_id: str, batch: int, rows: Sequence[Row]) -> None:
        ledger.add(gateway_id, batch, rows)

    reporter = UsageReporter(gateway.app.routers.gateway_id, gateway.app.tally, tell)
    reporting = asyncio.create_task(reporter.run())
    await gateway.start("127.0.0.1", port)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    print("ready", flush=True)
    await ended.wait()
    await gateway.drain(10.0)
    reporting.cancel()
    await reporter.finish()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))
