"""A node without Ray: a simulated engine, a gateway with tenants, state's autoscaler, and the exporter of all."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import uvicorn
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from deployments.gateway.catalogue import Catalogue, ModelCard
from deployments.gateway.replica_table import ReplicaInfo, ReplicaTable
from deployments.gateway.request_metrics import RequestMetrics
from deployments.gateway.server import Gateway
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.tenants.bins import Moment
from deployments.gateway.tenants.borrower import Borrower
from deployments.gateway.tenants.lease import Reply, Report
from deployments.gateway.tenants.spending import system_moment
from deployments.gateway.tenants.tenant import Limits, Tenant
from deployments.gateway_metrics import GatewayMetrics
from deployments.lender import LISTENS_S, Lender
from deployments.router_metrics import RouterMetrics
from deployments.scaling_metrics import ScalingMetrics
from deployments.scaling_store import ScalingStore
from deployments.usage_log import UsageLog
from engine.simulated.api import SimulatedApi
from engine.simulated.core import SimulatedEngine
from engine.simulated.profiles import get_profile
from monitoring.engine_scrape import Engine
from monitoring.exporter import Exporter, NodeNames
from monitoring.exporter_app import exporter_app
from monitoring.label_slots import LabelSlots
from tests.unit.deployments.test_scaling import BUSY, CHAT, Kept, World
from tests.unit.gateway.keys import keyring_of, new_key

MODEL, NOT_READY, TENANT, NODE = "chat", "not-ready", "acme", "here"
PUBLISH_EVERY_S, ASK_EVERY_S = 0.2, 0.05
BUILD = {"version": "1", "ray": "2", "vllm": "3", "python": "3.11"}


@asynccontextmanager
async def simulated_site(folder: Path) -> AsyncIterator[str]:
    """Its exporter, as `host:port`. Clients ask without end, and each of the ways to be turned away happens."""
    registry = CollectorRegistry()
    profile = get_profile("llama-3.1-8b-h100-tp1")
    engine = SimulatedEngine(profile, 256, 2048, 64)
    exporter = Exporter(registry, NodeNames(NODE, "ab12", "127.0.0.1"), BUILD)  # type: ignore[arg-type]
    acme, limited = new_key(), new_key()
    tenants = {acme: Tenant(TENANT), limited: Tenant("limited", Limits(requests_per_minute=1))}
    replicas, catalogue = ReplicaTable(), Catalogue()
    catalogue.replace(
        {MODEL: ModelCard(MODEL, "simulated"), NOT_READY: ModelCard(NOT_READY, "simulated", not_ready="it starts")}
    )
    gateway = Gateway(GatewaySettings(), replicas, catalogue, keyring_of(tenants))
    of_requests = RequestMetrics(LabelSlots(None, 10), registry)
    gateway.app.observers.append(of_requests)
    async with (
        served(SimulatedApi(engine, MODEL, 4096).app()) as engine_port,
        served(exporter_app(exporter, lambda: ())) as exporter_port,
    ):
        url = f"http://127.0.0.1:{engine_port}"
        exporter.board.replace([Engine(MODEL, "r0", url, dict, 1, profile.kv_capacity_tokens)], 0.0)
        lost = ReplicaInfo("lost", "http://127.0.0.1:9", "none", max_in_flight=64, max_model_len=4096)
        replicas.update(MODEL, [ReplicaInfo("r0", url, "none", max_in_flight=64, max_model_len=4096), lost])
        await gateway.start("127.0.0.1", 0)
        tasks = [
            asyncio.create_task(_ask(gateway.bound_port, acme, limited)),
            asyncio.create_task(_publish(gateway, of_requests, registry)),
            asyncio.create_task(_scale(folder, registry)),
            asyncio.create_task(engine.run()),
            asyncio.create_task(_lend(gateway)),
        ]
        try:
            yield f"127.0.0.1:{exporter_port}"
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task
            await gateway.close()
            await exporter.close()


@asynccontextmanager
async def served(app: Starlette) -> AsyncIterator[int]:
    """The port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off", access_log=False))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving


async def _ask(port: int, acme: str, limited: str) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        for turn in itertools.count():
            await asyncio.gather(
                _chat(client, acme, MODEL, turn, stream=True),
                _chat(client, acme, MODEL, turn, stream=False),
                _chat(client, acme, NOT_READY, turn, stream=False),
                _chat(client, limited, MODEL, turn, stream=False),
                _chat(client, "wrong", MODEL, turn, stream=False),
            )
            await asyncio.sleep(ASK_EVERY_S)


async def _chat(client: httpx.AsyncClient, key: str, model: str, turn: int, *, stream: bool) -> None:
    history = [{"role": "user", "content": f"Tell me of {turn % 3}. " * 30}]
    body = {"model": model, "messages": history, "max_tokens": 5, "stream": stream}
    await client.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})


async def _publish(gateway: Gateway, of_requests: RequestMetrics, registry: CollectorRegistry) -> None:
    of_router, of_gateway = RouterMetrics(registry), GatewayMetrics(registry)
    while True:
        of_requests.flush()
        of_router.publish(gateway.app.routers)
        of_gateway.publish(gateway.app, state_silent_s=0.0)
        await asyncio.sleep(PUBLISH_EVERY_S)


async def _lend(gateway: Gateway) -> None:
    """State as the limits' owner."""
    now = system_moment()
    lender = Lender("epoch", Moment(now.now_s - LISTENS_S, now.day), lambda day, key: {})

    async def lend(report: Report) -> Reply:
        return lender.exchange(report, system_moment())

    await Borrower(gateway.app.spending, lend).run()


async def _scale(folder: Path, registry: CollectorRegistry) -> None:
    """State's loop on a load that grows; its clock runs faster."""
    usage_path = folder / "usage.sqlite"
    kept = Kept(ScalingStore(folder / "state.sqlite"), UsageLog(usage_path, now_s=lambda: 1_000.0), usage_path)
    world, told = World(kept, CHAT), ScalingMetrics(registry)
    try:
        while True:
            rows = [row for rows in world.rows.values() for row in rows]
            told.publish(world.scaling, rows, world.now_s)
            told.failed(MODEL, "hung")
            world.step(chat=BUSY)
            await asyncio.sleep(PUBLISH_EVERY_S)
    finally:
        kept.store.close()
        kept.usage.close()
