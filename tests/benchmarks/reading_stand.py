"""A gateway in this process before one real engine with the default model: recipes' inner calls, without a cluster."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster.run_folder import store_folder
from deployments.gateway.catalogue import Catalogue, ModelCard
from deployments.gateway.client_request import ClientRequest
from deployments.gateway.recipes.inner_calls import InnerCalls, Origin
from deployments.gateway.replica_table import ReplicaInfo, ReplicaTable
from deployments.gateway.server import Gateway
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.tenants.tenant import ANYONE
from deployments.replica import free_port
from engine.cpu import available_cores
from engine.engine_process import EngineProcess
from engine.launch import EngineLaunch
from engine.memory_budget import GIB
from engine.probe import EngineProbe
from engine.vllm_command import vllm_command
from engine.weights.source import parse_source
from engine.weights.store import ModelStore
from tests.unit.gateway.keys import no_keys

MODEL = "smollm2-135m-instruct"
START_TIMEOUT_S = 400
SECRET = "of the benchmark"


@dataclass
class ReadingStand:
    gateway: Gateway
    model: str = MODEL

    def calls(self) -> InnerCalls:
        """Of one recipe call."""
        request = ClientRequest(b"POST", b"/v1/recipes/benchmark", {}, b"", keep_alive=True, is_http_1_1=True)
        return InnerCalls(self.gateway.app, request, ANYONE, Origin("req-benchmark", "benchmark"))


@asynccontextmanager
async def reading_stand(log_folder: Path, block_tokens: int = 32) -> AsyncIterator[ReadingStand]:
    """`block_tokens`: of the prefix cache; vLLM's own on a CPU are 128, which is more than most prompts here."""
    launch = EngineLaunch(
        model=MODEL,
        model_path=ModelStore(store_folder()).materialise(parse_source(f"bundled:{MODEL}")),
        device="cpu",
        host="127.0.0.1",
        port=free_port("127.0.0.1"),
        internal_token=SECRET,
        kv_cache_bytes=GIB,
        engine_args={"max_model_len": 4096, "block_size": block_tokens},
    )
    process, probe = EngineProcess(vllm_command(launch, available_cores()), log_folder / "engine.log", "reading"), None
    try:
        probe = EngineProbe(launch)
        await probe.wait_ready(process, START_TIMEOUT_S)
        replica = ReplicaInfo("r0", probe.url, SECRET, max_in_flight=64, max_model_len=4096)
        replicas, catalogue = ReplicaTable(), Catalogue()
        replicas.update(MODEL, [replica])
        catalogue.replace({MODEL: ModelCard(MODEL, "vllm")})
        gateway = Gateway(GatewaySettings(), replicas, catalogue, no_keys())
        await gateway.start("127.0.0.1", 0)
        yield ReadingStand(gateway)
        await gateway.close()
    finally:
        await process.kill()
