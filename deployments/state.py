"""The state deployment: one small replica that owns what outlives a process."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ray

from cluster.autoscaler.demand import Demand
from deployments.exporter_fleet import ExporterFleet
from deployments.gateway.tenants.keyring import KeyPage
from deployments.gateway.tenants.lease import Reply, Report
from deployments.gateway.usage_counts import Row
from deployments.gateway_registry import GatewayRegistry, GatewayReport, Told
from deployments.key_changes import KeyChange, Refused
from deployments.lending import Lending
from deployments.node_exporter import Orders
from deployments.node_metrics import keep_metrics
from deployments.scaled_model import ScaledModel, ScalingCard
from deployments.scaling import Scaling, Site
from deployments.scaling_metrics import ScalingMetrics
from deployments.scaling_store import ScalingStore
from deployments.serve_log import join_serves_log
from deployments.state_backup import backup
from deployments.state_store import DrainReport, FailureReport, ReplicaReport, StateStore
from deployments.targets import read_targets, write_targets
from deployments.tenant_registry import TenantRegistry
from deployments.usage_ledger import LEDGER, UsageQuery
from deployments.usage_ledger import opened as opened_ledger
from deployments.usage_log import UsageLogError, bins, opened

logger = logging.getLogger(__name__)

APPLICATION = "state"
WATCH_TIMEOUT_S = 20.0
REPORT_PERIOD_S = 5.0
SILENT_REPLICA_IS_LOST_S = 4 * REPORT_PERIOD_S
DECISION_PERIOD_S = 5.0
DECISIONS_SHOWN = 20
ORDERS_PERIOD_S, LEAST_ORDERS_PERIOD_S = 5.0, 1.0
USAGE_LOG = "usage.sqlite"
PAST_S = 30 * 3_600.0
HEAD_RESOURCE = "node:__internal_head__"


class State:
    """Model catalogue and start-up stages, with a version that gateways long-poll; replica counts."""

    def __init__(self, path: str, metrics_folder: str) -> None:
        join_serves_log()
        self._files = keep_metrics(metrics_folder)
        self._metrics_folder = metrics_folder
        self._fleet = ExporterFleet()
        self._path = Path(path)
        self._store = StateStore(Path(path))
        self._scaling_store = ScalingStore(Path(path))
        self._tenants = TenantRegistry(Path(path))
        self._usage_path = Path(path).with_name(USAGE_LOG)
        self._usage = opened(self._usage_path)
        self._ledger = opened_ledger(Path(path).with_name(LEDGER))
        self._scaling = Scaling(self._scaling_store, self._usage, read_targets())
        self._lending = Lending(Path(path))
        self._gateways = GatewayRegistry()
        self._metrics = ScalingMetrics()
        self._limits: dict[str, Any] = {}
        self._exporters: dict[str, Any] = {}
        self._began_s = time.time()
        self._written: dict[str, int] = {}
        self._view: dict[str, Any] = {}
        self._epoch = secrets.token_hex(4)
        self._changes = 0
        self._changed = asyncio.Condition()
        self._writing = asyncio.Lock()
        self._deciding: asyncio.Task[None] | None = None
        self._ordering: asyncio.Task[None] | None = None

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """`user_config["models"]` is the catalogue: `baryon apply` changes it without restarting anything."""
        self._tenants.note_config(user_config)
        self._store.replace_catalogue([{k: v for k, v in m.items() if k != "settings"} for m in user_config["models"]])
        self._limits = user_config["limits"]
        self._exporters = user_config["exporters"]
        cards = [ScalingCard.of(card) for card in user_config["models"]]
        new = await asyncio.to_thread(self._newcomers, cards)
        self._scaling.replace_models(cards, time.time(), new)
        await self._tell_targets()
        await self._publish()
        if self._deciding is None:
            self._deciding = asyncio.create_task(self._decide_for_ever())
            self._ordering = asyncio.create_task(self._order_exporters_for_ever())

    async def watch(self, known_version: str) -> dict[str, Any]:
        """The snapshot, as soon as its version differs from `known_version` or after `WATCH_TIMEOUT_S`.

        A version names this process, so a gateway that comes back after a restart catches up at once.
        """
        async with self._changed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WATCH_TIMEOUT_S):
                    await self._changed.wait_for(lambda: self._version != known_version)
        return await self.snapshot()

    async def snapshot(self) -> dict[str, Any]:
        lost = self._store.record_lost_replicas(SILENT_REPLICA_IS_LOST_S)
        for failure in lost:
            self._metrics.failed(failure.model, failure.cause)
        if lost:
            await self._publish()
        return {
            "version": self._version,
            "models": self._store.catalogue(),
            "replicas": self._store.replicas(),
            "failures": self._store.failures(),
            "scaling": self._scaling.view(),
            "drains": self._store.drains(),
            "exporters": [{"node": target.node, "address": target.address} for target in self._fleet.targets],
        }

    async def watch_keys(self, known_version: str) -> KeyPage:
        """What changed of keys and tenants, apart from `watch`: there may be many, and they seldom change."""
        return await self._tenants.watch(known_version)

    async def change_keys(self, change: KeyChange, actor: str) -> dict[str, Any] | Refused:
        return await self._tenants.change(change, actor)

    async def keys(self) -> dict[str, Any]:
        return self._tenants.listing()

    async def audit(self, limit: int) -> list[dict[str, Any]]:
        return self._tenants.audit(limit)

    async def decisions(self, model: str, limit: int = DECISIONS_SHOWN, changes_only: bool = False) -> list[Any]:
        """The autoscaler's, newest first, each with what it saw and why."""
        return self._scaling_store.decisions(model, limit, changes_only=changes_only)

    async def report_demand(self, gateway_id: str, demands: dict[str, Demand]) -> None:
        """Sent every second by each gateway, and at once when a request waits for a model at zero."""
        if self._scaling.tell(gateway_id, demands, time.time()):
            self._scaling.wake(await self._site(), time.time())
            await self._tell_targets()

    async def report_gateway(self, report: GatewayReport) -> Told:
        """Sent every two seconds by each gateway that has an admin port; the answer says who the others are."""
        self._gateways.report(report, time.monotonic())
        return Told(self._gateways.gateways(time.monotonic()), self._scaling.counts())

    async def forget_gateway(self, gateway_id: str) -> None:
        self._gateways.forget(gateway_id)

    async def lend(self, report: Report) -> Reply:
        """What a gateway has used of tenants' limits, and what it may use from now on."""
        return self._lending.exchange(report)

    async def report_usage(self, gateway_id: str, batch: int, rows: Sequence[Row]) -> None:
        """Told twice a second by each gateway that has news; a batch told again counts once."""
        self._ledger.add(gateway_id, batch, rows)

    async def backup(self) -> bytes:
        return await asyncio.to_thread(backup, self._path)

    async def usage(self, query: UsageQuery) -> list[dict[str, Any]]:
        return self._ledger.sums(query)

    async def report_replica(self, report: ReplicaReport) -> None:
        """Sent at each change of stage, and every `REPORT_PERIOD_S` as a sign of life."""
        if self._store.record_replica(report):
            self._scaling.see_replicas(self._heard_of())
            await self._publish()

    async def report_failure(self, report: FailureReport) -> None:
        self._store.record_failure(report)
        self._metrics.failed(report.model, report.cause)
        self._scaling.see_replicas(self._heard_of())
        await self._publish()

    async def report_drained(self, report: DrainReport) -> None:
        self._store.record_drain(report)
        self._scaling.see_replicas(self._heard_of())
        await self._publish()

    async def report_stopped(self, replica_id: str) -> None:
        """Of one that was asked to end before it was ready."""
        self._store.forget_replica(replica_id)
        self._scaling.see_replicas(self._heard_of())
        await self._publish()

    @property
    def _version(self) -> str:
        return f"{self._epoch}.{self._changes}"

    async def _publish(self) -> None:
        async with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def _newcomers(self, cards: Sequence[ScalingCard]) -> dict[str, ScaledModel]:
        """Those that nothing is known of yet, with what came yesterday and since."""
        now_s = time.time()
        new = [card.model for card in cards if card.model not in self._scaling.models()]
        try:
            past = {model: list(bins(self._usage_path, model, now_s - PAST_S, now_s)) for model in new}
        except UsageLogError as error:
            logger.error("the autoscaler begins without a past: %s", error)
            past = {}
        return self._scaling.newcomers(cards, now_s, past)

    async def _decide_for_ever(self) -> None:
        """Nothing that fails here ends it: counts stay as they are until the next time."""
        while True:
            await asyncio.sleep(DECISION_PERIOD_S)
            try:
                await self._decide()
            except Exception:
                logger.exception("no decision this time, every count stays")

    async def _decide(self) -> None:
        self._scaling.see_replicas(self._heard_of())
        self._scaling.decide(await self._site(), time.time())
        await self._tell_targets()
        self._metrics.publish(self._scaling, self._heard_of(), time.time())
        self._scaling_store.trim()

    async def _order_exporters_for_ever(self) -> None:
        """At once when something has changed. Nothing that fails here ends it."""
        while True:
            version = self._version
            try:
                nodes = [node["NodeID"] for node in await asyncio.to_thread(ray.nodes) if node["Alive"]]
                await self._fleet.order(nodes, self._orders(nodes))
            except Exception:
                logger.exception("exporters go on as they are")
            await asyncio.sleep(LEAST_ORDERS_PERIOD_S)
            async with self._changed:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(ORDERS_PERIOD_S):
                        await self._changed.wait_for(partial(self._is_not, version))

    def _is_not(self, version: str) -> bool:
        return self._version != version

    def _orders(self, nodes: Sequence[str]) -> Orders:
        going = [row["replica_id"] for row in self._store.replicas() if row["stage"] == "drain"]
        return Orders(
            host=self._exporters["host"],
            port=self._exporters["port"],
            metrics_folder=self._metrics_folder,
            applications={card["application"]: card["name"] for card in self._store.catalogue()},
            asked_to_go=frozenset([*going, *(row["replica_id"] for row in self._store.drains())]),
            nodes=frozenset(nodes),
            targets=self._fleet.targets,
        )

    async def _tell_targets(self) -> None:
        """To Serve's controller, and to gateways what they should know of it."""
        async with self._writing:
            targets = self._scaling.targets()
            if targets != self._written:
                await asyncio.to_thread(write_targets, targets)
                self._written = targets
        view = self._scaling.view()
        if view != self._view:
            self._view = view
            await self._publish()

    async def _site(self) -> Site:
        """What Ray has, less what gateways and state take; or the GPUs that it may grow to."""
        nodes = [node for node in await asyncio.to_thread(ray.nodes) if node["Alive"]]
        head = next((node["NodeID"] for node in nodes if HEAD_RESOURCE in node["Resources"]), "")
        if self._limits["max_gpus"] is not None:
            return Site({"GPU": self._limits["max_gpus"]}, head)
        total = {name: sum(node["Resources"].get(name, 0.0) for node in nodes) for name in ("GPU", "CPU")}
        return Site({**total, "CPU": total["CPU"] - self._limits["reserved_cpus"]}, head)

    def _heard_of(self) -> list[Mapping[str, Any]]:
        """Replicas of this cluster: rows of an earlier one have not been seen since."""
        return [row for row in self._store.replicas() if row["seen_at_s"] >= self._began_s]

    def __del__(self) -> None:
        if hasattr(self, "_store"):
            self._store.close()
            self._scaling_store.close()
            self._tenants.close()
            self._usage.close()
            self._lending.close()
            self._ledger.close()
