"""Gateways with admin ports in front of scripted engines, and a state that answers unless told not to."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from deployments.admin.admin_port import AdminAddress, AdminPort
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.tenants.keyring import Keyring
from deployments.gateway_registry import GatewayRegistry, GatewayReport, ReplicaCounts, Told
from tests.unit.gateway.harness import MODEL, Answer, Stand, stand, until
from tests.unit.gateway.scripted_engine import ScriptedEngine

CARD = {
    "name": MODEL,
    "application": MODEL,
    "engine": "vllm",
    "slo": {"ttft_ms": 2_000.0, "tpot_ms": 100.0},
    "replicas": {"min": 1, "max": 3},
}


def replica_row(name: str, stage: str = "ready") -> dict[str, Any]:
    return {
        "replica_id": name,
        "model": MODEL,
        "node_id": "n" * 56,
        "pid": 7,
        "engine": "vllm",
        "stage": stage,
        "detail": "",
        "started_at_s": time.time() - 60,
        "stages": {"load": 20.0},
        "kv_cache_tokens": 1_000,
        "seen_at_s": time.time(),
    }


@dataclass
class ScriptedState:
    """`decided`: what it has of decisions, newest first."""

    decided: list[dict[str, Any]] = field(default_factory=list)
    is_away: bool = False
    registry: GatewayRegistry = field(default_factory=GatewayRegistry)

    async def report(self, me: GatewayReport) -> Told:
        self._answer()
        self.registry.report(me, time.monotonic())
        return Told(self.registry.gateways(time.monotonic()), {MODEL: ReplicaCounts(2, 1, 1)})

    async def forget(self, gateway_id: str) -> None:
        self.registry.forget(gateway_id)

    async def decisions(self, model: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        self._answer()
        return self.decided, [made for made in self.decided if made["was"] != made["granted"]]

    def _answer(self) -> None:
        if self.is_away:
            raise ConnectionError("state is away")


@dataclass
class AdminStand:
    """One gateway with its admin port."""

    gateway: Stand
    admin: AdminPort

    async def ask(self, raw: bytes, *, has_body: bool = True) -> Answer:
        """At the admin port."""
        port, self.gateway.port = self.gateway.port, self.admin.bound_port
        try:
            return await self.gateway.ask(raw, has_body=has_body)
        finally:
            self.gateway.port = port

    async def get(self, path: str, headers: str = "", host: str = "127.0.0.1:8001") -> Answer:
        return await self.ask(f"GET {path} HTTP/1.1\r\nhost: {host}\r\n{headers}\r\n".encode("latin-1"))


@asynccontextmanager
async def admin_stands(
    engines: Sequence[Sequence[ScriptedEngine]], state: ScriptedState, keyring: Keyring | None = None
) -> AsyncIterator[list[AdminStand]]:
    """A gateway for each of `engines`, once all have heard of one another."""
    async with AsyncExitStack() as stack:
        opened = []
        for own in engines:
            gateway = await stack.enter_async_context(stand(own, 8, GatewaySettings(), keyring))
            app, replicas, settings = gateway.gateway.app, gateway.replicas, gateway.gateway.settings
            admin = AdminPort(app, replicas, lambda settings=settings: settings, state, "n" * 56)
            rows = [replica_row(f"r{index}") for index in range(len(own))]
            admin.know({"models": [CARD], "replicas": rows, "failures": [], "drains": [], "scaling": {}})
            await admin.start(AdminAddress("127.0.0.1", 0, "127.0.0.1"))
            stack.push_async_callback(admin.close)
            opened.append(AdminStand(gateway, admin))
        await until(lambda: all(len(one.admin.peers.known) == len(opened) for one in opened) or state.is_away)
        yield opened
