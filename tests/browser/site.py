"""`python -m tests.browser.site FOLDER ADMIN_PORT PORT [--key KEY [--show-text]]`: gateways, simulated engines, state's
own parts and an autoscaler that really starts and ends engines, in one process and its children. No Ray.

Each of the two gateways has a port of its own; the first one's are those given. It prints `ready` once all listen.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import uvloop

from cluster.autoscaler.demand import Demand
from deployments.admin.admin_port import AdminAddress, AdminPort
from deployments.catalogue_view import model_cards
from deployments.gateway.catalogue import Catalogue
from deployments.gateway.demand_reporter import DemandReporter
from deployments.gateway.replica_table import ReplicaInfo, ReplicaTable
from deployments.gateway.server import Gateway
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.tenants.keyring import Keyring
from deployments.gateway.tenants.tenant import Tenant
from deployments.gateway_registry import GatewayRegistry, GatewayReport, Told
from deployments.scaled_model import ScalingCard
from deployments.scaling import Scaling, Site
from deployments.scaling_store import ScalingStore
from deployments.state_store import DrainReport, ReplicaReport, StateStore
from deployments.usage_log import opened
from engine.internal_token import token_now
from engine.simulated.profiles import get_profile
from tests.benchmarks.gateway_cpu import free_port
from tests.unit.gateway.keys import keyring_of, no_keys

TOKEN = "internal-secret-token"
DECISION_PERIOD_S = 2.0
LOOK_S = 0.3
NODES = ("9f1c2ad07b3e4f55", "27be9910c4d8a6f1")


def card(name: str, profile: str, least: int, most: int, slo: dict[str, float]) -> dict[str, Any]:
    return {
        "name": name,
        "application": name.replace("/", "--"),
        "engine": "simulated",
        "profile": profile,
        "source": "",
        "slo": slo,
        "max_model_len": 32_768,
        "replicas": {"min": least, "max": most},
        "wake": {"max_wait_s": 60.0, "max_waiting": 64} if not least else None,
        "priority": 0,
        "needs": {"GPU": 1.0, "CPU": 0.0},
    }


CARDS = [
    card("llama-3.1-70b-instruct", "llama-3.1-70b-a100-tp4", 1, 4, {"ttft_ms": 2_000.0, "tpot_ms": 60.0}),
    card("qwen3-32b", "qwen3-32b-h100-tp2", 1, 2, {"ttft_ms": 1_000.0, "tpot_ms": 60.0}),
    card("night-model", "instant", 0, 1, {"ttft_ms": 2_000.0, "tpot_ms": 100.0}),
]


class Engine:
    """One replica: a simulated engine in a process of its own."""

    def __init__(self, model: dict[str, Any], number: int) -> None:
        self.model, self.port = model, free_port()
        self.replica_id = f"{model['application'][:8].strip('-')}{number:03x}"
        self.node_id = NODES[number % len(NODES)]
        self.kv_cache_tokens = get_profile(model["profile"]).kv_capacity_tokens
        self.started_at_s = time.time()
        self.stages: dict[str, float] = {}
        self.stage = "load"
        argv = [sys.executable, "-P", "-m", "engine.simulated", "--model", model["name"], "--port", str(self.port)]
        environment = {**os.environ, "BARYON_INTERNAL_TOKEN": TOKEN, "PYTHONPATH": str(Path.cwd())}
        self.process = subprocess.Popen([*argv, "--profile", model["profile"]], env=environment)

    async def look(self, client: httpx.AsyncClient) -> None:
        if self.stage == "load":
            with contextlib.suppress(httpx.HTTPError):
                headers = {"x-baryon-internal-token": token_now(TOKEN).decode()}
                (await client.get(f"http://127.0.0.1:{self.port}/health", headers=headers)).raise_for_status()
                self.stages = {"load": time.time() - self.started_at_s}
                self.stage = "ready"

    def report(self) -> ReplicaReport:
        detail = f"starting simulated on port {self.port}" if self.stage == "load" else ""
        named = (self.replica_id, self.model["name"], self.node_id, self.process.pid, "simulated")
        return ReplicaReport(*named, self.stage, detail, self.started_at_s, self.stages, self.kv_cache_tokens)

    def info(self) -> ReplicaInfo:
        url = f"http://127.0.0.1:{self.port}"
        return ReplicaInfo(
            *(self.replica_id, url, TOKEN, 64, 32_768, "simulated"),
            kv_cache_tokens=self.kv_cache_tokens,
            node_id=self.node_id,
        )


class LiveState:
    """What the state deployment does, with its own parts. `is_away`: it answers nobody, as when its process is gone."""

    def __init__(self, folder: Path) -> None:
        self.store, self.registry = StateStore(folder / "state.sqlite"), GatewayRegistry()
        self.store.replace_catalogue(CARDS)
        self._decisions = ScalingStore(folder / "state.sqlite")
        self.scaling = Scaling(self._decisions, opened(folder / "usage.sqlite"), {})
        cards = [ScalingCard.of(one) for one in CARDS]
        self.scaling.replace_models(cards, time.time(), self.scaling.newcomers(cards, time.time(), {}))
        self.is_away = False

    def snapshot(self) -> dict[str, Any]:
        return {
            "models": self.store.catalogue(),
            "replicas": self.store.replicas(),
            "failures": self.store.failures(),
            "drains": self.store.drains(),
            "scaling": self.scaling.view(),
        }

    async def report(self, me: GatewayReport) -> Told:
        self._answer()
        self.registry.report(me, time.monotonic())
        return Told(self.registry.gateways(time.monotonic()), self.scaling.counts())

    async def forget(self, gateway_id: str) -> None:
        self.registry.forget(gateway_id)

    async def decisions(self, model: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        self._answer()
        return self._decisions.decisions(model, 720), self._decisions.decisions(model, 50, changes_only=True)

    async def tell(self, gateway_id: str, demands: dict[str, Demand]) -> None:
        self._answer()
        if self.scaling.tell(gateway_id, demands, time.time()):
            self.scaling.wake(Site({"GPU": 8.0}, ""), time.time())

    def decide(self) -> None:
        self.scaling.see_replicas(self.store.replicas())
        self.scaling.decide(Site({"GPU": 8.0}, ""), time.time())

    def _answer(self) -> None:
        if self.is_away:
            raise ConnectionError("state is away")


class LiveSite:
    def __init__(self, folder: Path, keyring: Keyring) -> None:
        self.state = LiveState(folder)
        self.engines: list[Engine] = []
        self._keyring = keyring
        self._born = 0
        self._gateways: list[tuple[Gateway, AdminPort, Catalogue]] = []

    async def open_gateway(self, port: int, admin_port: int) -> None:
        replicas, catalogue = ReplicaTable(), Catalogue()
        gateway = Gateway(GatewaySettings(), replicas, catalogue, self._keyring)
        node = NODES[len(self._gateways) % len(NODES)]
        admin = AdminPort(gateway.app, replicas, lambda: gateway.settings, self.state, node)
        self._gateways.append((gateway, admin, catalogue))
        self._tell_gateways()
        await gateway.start("127.0.0.1", port)
        await admin.start(AdminAddress("127.0.0.1", admin_port, "127.0.0.1"))
        self._reporting = asyncio.create_task(DemandReporter(gateway.app, self.state.tell).run())

    async def live(self) -> None:
        """Be Serve: as many engines of each model as the autoscaler says."""
        decided_s = 0.0
        async with httpx.AsyncClient(trust_env=False) as client:
            while True:
                for name, target in self.state.scaling.targets().items():
                    self._keep(name, target)
                await asyncio.gather(*(engine.look(client) for engine in self.engines))
                for engine in self.engines:
                    self.state.store.record_replica(engine.report())
                if time.monotonic() - decided_s >= DECISION_PERIOD_S:
                    decided_s = time.monotonic()
                    self.state.decide()
                self._tell_gateways()
                await asyncio.sleep(LOOK_S)

    def ready(self) -> bool:
        return sum(engine.stage == "ready" for engine in self.engines) >= sum(c["replicas"]["min"] for c in CARDS)

    def end(self) -> None:
        for engine in self.engines:
            engine.process.kill()
            engine.process.wait()

    def _keep(self, application: str, target: int) -> None:
        model = next(one for one in CARDS if one["application"] == application)
        have = [engine for engine in self.engines if engine.model is model]
        for _ in range(target - len(have)):
            self._born += 1
            self.engines.append(Engine(model, self._born))
        for engine in have[target:]:
            self.engines.remove(engine)
            engine.process.kill()
            engine.process.wait()
            self.state.store.record_drain(DrainReport(engine.replica_id, model["name"], 0.4, 0))

    def _tell_gateways(self) -> None:
        snapshot = self.state.snapshot()
        for gateway, admin, catalogue in self._gateways:
            catalogue.replace(model_cards(snapshot))
            gateway.keep_models([one["name"] for one in CARDS])
            for model in CARDS:
                ready = [e.info() for e in self.engines if e.model is model and e.stage == "ready"]
                gateway.set_replicas(model["name"], ready)
            admin.know(snapshot)


async def main(arguments: argparse.Namespace) -> None:
    acme = Tenant("acme", show_text="on" if arguments.show_text else "off")
    keyring = keyring_of({arguments.key: acme}) if arguments.key else no_keys()
    site = LiveSite(Path(arguments.folder), keyring)
    loop = asyncio.get_running_loop()
    end = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, end.set)
    loop.add_signal_handler(signal.SIGUSR1, lambda: setattr(site.state, "is_away", not site.state.is_away))
    living = asyncio.create_task(site.live())
    try:
        while not site.ready():
            await asyncio.sleep(LOOK_S)
        await site.open_gateway(arguments.port, arguments.admin_port)
        await site.open_gateway(free_port(), free_port())
        print("ready", flush=True)
        await asyncio.wait([living, asyncio.create_task(end.wait())], return_when=asyncio.FIRST_COMPLETED)
    finally:
        living.cancel()
        site.end()


def read(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.browser.site")
    parser.add_argument("folder")
    parser.add_argument("admin_port", type=int)
    parser.add_argument("port", type=int)
    parser.add_argument("--key", default="")
    parser.add_argument("--show-text", action="store_true", help="of the key's tenant")
    return parser.parse_args(argv)


if __name__ == "__main__":
    uvloop.run(main(read(sys.argv[1:])))
