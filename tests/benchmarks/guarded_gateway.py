"""`python -m tests.benchmarks.guarded_gateway PORT ENGINE_PORT LENDER_PORT KEY`: one gateway with everything on: a key
with four limits, lent by `limited_site lender`; usage is told. No Ray.
"""

import asyncio
import sys
from collections.abc import Sequence

import uvloop

from deployments.gateway.catalogue import Catalogue, ModelCard
from deployments.gateway.replica_table import ReplicaInfo, ReplicaTable
from deployments.gateway.server import Gateway
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.tenants.borrower import Borrower
from deployments.gateway.tenants.tenant import Limits, Tenant
from deployments.gateway.usage_counts import Row
from deployments.gateway.usage_reporter import UsageReporter
from tests.benchmarks.limited_site import lend_by
from tests.unit.gateway.keys import keyring_of

AMPLE = Limits(10_000_000, 1_000_000_000, 100_000, 1_000_000_000)


async def forget(gateway_id: str, batch: int, rows: Sequence[Row]) -> None:
    """State that believes everything."""


async def main(port: int, engine_port: int, lender_port: int, key: str) -> None:
    replicas, catalogue = ReplicaTable(), Catalogue()
    url = f"http://127.0.0.1:{engine_port}"
    replicas.update("m", [ReplicaInfo("r0", url, "none", max_in_flight=100_000, max_model_len=4096)])
    catalogue.replace({"m": ModelCard("m", "simulated")})
    gateway = Gateway(GatewaySettings(), replicas, catalogue, keyring_of({key: Tenant("ample", AMPLE)}))
    await gateway.start("127.0.0.1", port)
    app = gateway.app
    await asyncio.gather(
        Borrower(app.spending, lend_by(lender_port)).run(),
        UsageReporter(app.routers.gateway_id, app.tally, forget).run(),
    )


if __name__ == "__main__":
    uvloop.run(main(*map(int, sys.argv[1:4]), sys.argv[4]))
