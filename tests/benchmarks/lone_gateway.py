"""`python -m tests.benchmarks.lone_gateway PORT ENGINE_URL [TOKEN] [MODEL]`: one gateway, one engine, no Ray."""

import asyncio
import sys

import uvloop

from deployments.gateway.catalogue import Catalogue, ModelCard
from deployments.gateway.replica_table import ReplicaInfo, ReplicaTable
from deployments.gateway.server import Gateway
from deployments.gateway.settings import GatewaySettings
from tests.unit.gateway.keys import no_keys


async def main(port: int, url: str, token: str = "none", model: str = "m") -> None:
    replicas, catalogue = ReplicaTable(), Catalogue()
    replicas.update(model, [ReplicaInfo("r0", url, token, max_in_flight=100_000, max_model_len=4096)])
    catalogue.replace({model: ModelCard(model, "simulated")})
    await Gateway(GatewaySettings(), replicas, catalogue, no_keys()).start("127.0.0.1", port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), *sys.argv[2:]))
