"""The gateway as a Serve deployment: one process each, sharing the port, fed by membership and state."""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray import serve

from cluster.autoscaler.demand import Demand
from deployments.admin.admin_port import AdminAddress, AdminPort
from deployments.admin_calls import AdminCalls
from deployments.catalogue_view import model_cards
from deployments.gateway.catalogue import Catalogue
from deployments.gateway.certificate import Certificate
from deployments.gateway.demand_reporter import DemandReporter
from deployments.gateway.replica_table import ReplicaTable
from deployments.gateway.request_log import log_request
from deployments.gateway.request_metrics import FLUSH_S, RequestMetrics
from deployments.gateway.server import Gateway
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.tenants.borrower import Borrower
from deployments.gateway.tenants.keyring import Keyring
from deployments.gateway.tenants.lease import Reply, Report
from deployments.gateway.usage_counts import Row
from deployments.gateway.usage_reporter import UsageReporter
from deployments.gateway_metrics import GatewayMetrics
from deployments.key_follower import follow_keys
from deployments.membership import Membership
from deployments.node_address import address_here
from deployments.node_metrics import keep_metrics
from deployments.router_metrics import RouterMetrics
from deployments.serve_log import join_serves_log
from deployments.serve_page_metrics import ServePageMetrics
from deployments.state import APPLICATION, WATCH_TIMEOUT_S
from deployments.state_calls import StateCalls
from monitoring.label_slots import LabelSlots

logger = logging.getLogger(__name__)

STATE_RETRY_S = 1.0
LONGEST_ANSWER_S = 60.0
DRAIN_DEADLINE_S = 2 * LONGEST_ANSWER_S + 10.0
METRICS_PERIOD_S = 5.0
TENANTS, KNOWN_TENANTS = "tenants.jsonl", 400
REPORT_TIMEOUT_S = 10.0
FIRST_REPLICAS_TIMEOUT_S = 10.0
LAST_SPANS_S = 5.0


class GatewayDeployment:
    """Owns its listening socket; Serve starts it, watches it and drains it, and no request passes through Serve."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        host: str,
        port: int,
        metrics_folder: str,
        tls: dict[str, str] | None = None,
        admin: dict[str, Any] | None = None,
    ) -> None:
        """`tls`: where the certificate and its key are. `admin`: an `AdminAddress`."""
        join_serves_log()
        self._node_id = str(ray.get_runtime_context().get_node_id())
        self._files = keep_metrics(metrics_folder)
        self._replicas, self._catalogue = ReplicaTable(), Catalogue()
        self._applications: dict[str, str] = {}
        certificate = Certificate(Path(tls["certificate"]), Path(tls["key"])) if tls else None
        self._tracing: dict[str, Any] | None = None
        self._keyring, self._keys_are_known = Keyring(), asyncio.Event()
        self._gateway = Gateway(GatewaySettings(), self._replicas, self._catalogue, self._keyring, certificate)
        self._gateway.app.observers.append(log_request)
        self._state = StateCalls()
        self._admin = self._admin_port() if admin is not None else None
        self._membership = Membership(asyncio.get_running_loop(), self._on_replicas)
        self._first_snapshot = asyncio.Event()
        self._replicas_changed = asyncio.Event()
        self._ready_models: frozenset[str] = frozenset()
        self._following = asyncio.create_task(self._follow_state())
        self._following_keys = asyncio.create_task(follow_keys(self._keyring, self._on_keys))
        self._publishing = asyncio.create_task(self._publish_metrics())
        self._reporting = asyncio.create_task(DemandReporter(self._gateway.app, self._report_demand).run())
        self._borrowing = asyncio.create_task(Borrower(self._gateway.app.spending, self._lend).run())
        app = self._gateway.app
        tenants = LabelSlots(self._files.folder / TENANTS if self._files else None, KNOWN_TENANTS)
        self._metrics = RequestMetrics(tenants)
        app.observers.append(self._metrics)
        self._of_gateway = GatewayMetrics()
        self._counting = asyncio.create_task(self._count_for_ever())
        self._usage = UsageReporter(app.routers.gateway_id, app.tally, self._report_usage)
        self._telling_usage = asyncio.create_task(self._usage.run())
        await self._first_snapshot.wait()
        await self._keys_are_known.wait()
        await self._first_replicas()
        await self._gateway.start(host, port)
        if self._admin is not None and admin is not None:
            here = address_here(admin["private_host"])
            await self._open_console(self._admin, AdminAddress(admin["host"], admin["port"], here))

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        tracing = user_config["tracing"]
        self._gateway.settings = GatewaySettings(**{k: v for k, v in user_config.items() if k != "tracing"})
        if tracing != self._tracing:
            self._tracing = tracing
            await self._trace(tracing)

    async def _trace(self, tracing: dict[str, Any] | None) -> None:
        """OpenTelemetry takes memory and a thread, so it is loaded only where it is configured."""
        app, before = self._gateway.app, self._gateway.app.tracing
        app.tracing = None
        if tracing is not None:
            from deployments.gateway.tracing import OtlpTracing

            app.tracing = OtlpTracing(
                app.routers.gateway_id,
                tracing["endpoint"],
                tracing["sample"],
                follows_callers=tracing["follow_callers"],
            )
        if before is not None:
            await asyncio.to_thread(before.close)

    def check_health(self) -> None:
        if not self._gateway.is_serving:
            raise RuntimeError("the gateway's listening socket is closed")

    def in_flight(self) -> int:
        return self._gateway.app.in_flight()

    async def __del__(self) -> None:
        if not hasattr(self, "_following"):
            return
        await self._drain()
        self._telling_usage.cancel()
        await self._usage.finish()
        if self._gateway.app.tracing is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.to_thread(self._gateway.app.tracing.close), LAST_SPANS_S)
        self._following.cancel()
        self._following_keys.cancel()
        self._publishing.cancel()
        self._counting.cancel()
        self._count()
        self._reporting.cancel()
        self._borrowing.cancel()
        await self._membership.close()

    async def _open_console(self, admin: AdminPort, address: AdminAddress) -> None:
        """A node where something else has its port has no console; it serves all the same."""
        try:
            await admin.start(address)
        except OSError as error:
            logger.error("no console on this node: gateway.admin_port %d cannot be bound: %s", address.port, error)

    def _admin_port(self) -> AdminPort:
        gateway = self._gateway
        return AdminPort(gateway.app, self._replicas, lambda: gateway.settings, AdminCalls(self._state), self._node_id)

    async def _drain(self) -> None:
        """A connection whose answer had begun may bring one request more, which gets as long as that one had."""
        if self._admin is not None:
            await self._admin.close()
        cut = await self._gateway.drain(DRAIN_DEADLINE_S)
        if cut:
            logger.warning("%d connections are cut: they did not finish in %g s", cut, DRAIN_DEADLINE_S)

    def _on_replicas(self, application: str, replicas: Any) -> None:
        model = self._applications.get(application)
        if model is not None:
            self._gateway.set_replicas(model, replicas)
            self._replicas_changed.set()

    def _on_keys(self) -> None:
        self._gateway.app.keys_changed()
        self._keys_are_known.set()

    async def _first_replicas(self) -> None:
        """Until membership knows a replica of each model of which state says that one is ready.

        One that listens before would answer 503 where its neighbours serve.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_REPLICAS_TIMEOUT_S):
                while not all(map(self._replicas.of, self._ready_models)):
                    self._replicas_changed.clear()
                    await self._replicas_changed.wait()

    async def _count_for_ever(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            try:
                self._count()
            except Exception:
                logger.exception("requests of the last half second are not counted")

    def _count(self) -> None:
        self._metrics.flush()
        self._of_gateway.publish(self._gateway.app, self._state.silent_s)

    async def _publish_metrics(self) -> None:
        app, of_router = self._gateway.app, RouterMetrics()
        of_serve = ServePageMetrics(serve.get_replica_context().replica_id.unique_id)
        app.observers.append(of_serve)
        while True:
            await asyncio.sleep(METRICS_PERIOD_S)
            try:
                of_router.publish(app.routers)
                of_serve.publish(app, {model: application for application, model in self._applications.items()})
            except Exception:
                logger.exception("the router's counts are not told this time")

    async def _report_usage(self, gateway_id: str, batch: int, rows: Sequence[Row]) -> None:
        await self._state.call("report_usage", gateway_id, batch, rows, within_s=REPORT_TIMEOUT_S)

    async def _report_demand(self, gateway_id: str, demands: dict[str, Demand]) -> None:
        await self._state.call("report_demand", gateway_id, self._node_id, demands, within_s=REPORT_TIMEOUT_S)

    async def _lend(self, report: Report) -> Reply:
        reply: Reply = await self._state.call("lend", report, within_s=REPORT_TIMEOUT_S)
        return reply

    async def _follow_state(self) -> None:
        """Keep the catalogue as state last told it; while state is away, go on with that."""
        version = ""
        while True:
            try:
                async with asyncio.timeout(2 * WATCH_TIMEOUT_S):
                    state = await asyncio.to_thread(serve.get_deployment_handle, "State", APPLICATION)
                    snapshot = await state.watch.remote(version)
            except Exception as error:
                logger.warning("state is away, serving from the last snapshot: %s", error)
                await asyncio.sleep(STATE_RETRY_S)
                continue
            version = snapshot["version"]
            self._adopt(snapshot)

    def _adopt(self, snapshot: dict[str, Any]) -> None:
        self._ready_models = frozenset(r["model"] for r in snapshot["replicas"] if r["stage"] == "ready")
        self._applications = {model["application"]: model["name"] for model in snapshot["models"]}
        self._catalogue.replace(model_cards(snapshot))
        self._gateway.keep_models(self._applications.values())
        self._membership.watch(frozenset(self._applications))
        if self._admin is not None:
            self._admin.know(snapshot)
        self._first_snapshot.set()
