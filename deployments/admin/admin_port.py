"""A gateway's admin port on loopback, and its private port for other gateways, with all that is behind them."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import httpx

from deployments.admin.app import AdminApp
from deployments.admin.engine_gauges import EngineLooks, fetch_by
from deployments.admin.files import console_files
from deployments.admin.gateway_view import GatewayView
from deployments.admin.overview import StateView, overview
from deployments.admin.peers import Peers, keep_reporting
from deployments.admin.private_port import PrivatePort
from deployments.admin.timeline import timeline
from deployments.gateway.app import GatewayApp
from deployments.gateway.client_connections import ClientConnections
from deployments.gateway.errors import GatewayError
from deployments.gateway.http_server import CheckHead, ClientConnection, Handler
from deployments.gateway.listener import listening_socket
from deployments.gateway.replica_table import ReplicaTable
from deployments.gateway.settings import GatewaySettings
from deployments.gateway_registry import GatewayReport, Told

BACKLOG = 128

Document = dict[str, Any]


class StateAnswers(Protocol):
    """What the admin port asks of state. Each raises when state is away."""

    async def report(self, me: GatewayReport) -> Told: ...

    async def forget(self, gateway_id: str) -> None: ...

    async def decisions(self, model: str) -> tuple[list[Document], list[Document]]:
        """The last hour's, and those that changed a count, both newest first."""


@dataclass(frozen=True, slots=True)
class AdminAddress:
    """`private_host`: where other gateways reach this one."""

    host: str
    port: int
    private_host: str


class AdminPort:
    """Created and used on one running event loop."""

    def __init__(
        self,
        app: GatewayApp,
        replicas: ReplicaTable,
        settings: Callable[[], GatewaySettings],
        state: StateAnswers,
        node_id: str,
    ) -> None:
        self.view = GatewayView(app, node_id)
        app.observers.append(self.view.minute)
        self._app = app
        self._replicas = replicas
        self._settings = settings
        self._state = state
        self._node_id = node_id
        self._known = StateView({}, is_away=True)
        self._secret = secrets.token_urlsafe(32)
        self._client = httpx.AsyncClient(trust_env=False, timeout=2.0)
        self._looks = EngineLooks(fetch_by(self._client))
        self.peers = Peers(self.view, self._client)
        self._connections = ClientConnections()
        self._servers: list[asyncio.Server] = []
        self.bound_port = 0
        self._reporting: asyncio.Task[None] | None = None

    async def start(self, address: AdminAddress) -> None:
        """Other gateways can ask this one even where the admin port cannot be bound.

        Raises:
            OSError: an address cannot be bound.
        """
        private = PrivatePort(self.view, self._secret)
        private_port = await self._listen(address.private_host, 0, private.handle, private.refusal)
        host = f"[{address.private_host}]" if ":" in address.private_host else address.private_host
        me = GatewayReport(
            gateway_id=self.view.gateway_id,
            url=f"http://{host}:{private_port}",
            secret=self._secret,
            node_id=self._node_id,
            pid=self.view.pid,
            started_at_s=self.view.started_at_s,
        )
        self._reporting = asyncio.create_task(keep_reporting(me, self._state.report, self.on_told))
        app = AdminApp(
            self.peers,
            console_files(),
            self._overview,
            self._decisions,
            self._app.handle,
            self._app.door.refusal,
        )
        self.bound_port = await self._listen(address.host, address.port, app.handle, app.refusal)

    def know(self, snapshot: Mapping[str, Any]) -> None:
        """State's last snapshot."""
        self._known = replace(self._known, snapshot=snapshot)

    async def close(self) -> None:
        """Take no more connections, drop those there are, and tell state that it is gone."""
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.drop()
        if self._reporting is not None:
            self._reporting.cancel()
            with contextlib.suppress(Exception):  # once it is silent for a while it is forgotten all the same
                await self._state.forget(self.view.gateway_id)
        await self._client.aclose()

    async def _listen(self, host: str, port: int, handle: Handler, check_head: CheckHead) -> int:
        listener = listening_socket(host, port, shared=port != 0)
        server = await asyncio.get_running_loop().create_server(
            lambda: ClientConnection(handle, self._settings, self._connections, check_head),
            sock=listener,
            backlog=BACKLOG,
        )
        self._servers.append(server)
        return int(listener.getsockname()[1])

    def on_told(self, told: Told | None) -> None:
        if told is None:
            self._known = replace(self._known, is_away=True)
            return
        self._known = replace(self._known, told=told, heard_at_s=time.time(), is_away=False)
        self.peers.known = told.gateways

    async def _overview(self) -> Document:
        members = self._replicas.all()
        ready = [replica for replicas in members.values() for replica in replicas]
        gateways, gauges = await asyncio.gather(self.peers.now(), self._looks.of(ready))
        needs_key = self._app.door.needs_key
        return overview(time.time(), self._known, gateways, members, gauges, is_key_needed=needs_key)

    async def _decisions(self, model: str) -> Document:
        """Raises:
        GatewayError: 404, no such model; 503, state is away.
        """
        if model not in [card["name"] for card in self._known.snapshot.get("models", [])]:
            raise GatewayError(404, "model_not_found", "There is no such model.", "model")
        try:
            latest, changes = await self._state.decisions(model)
        except Exception as error:
            message = "The cluster's state, which has the decisions, does not answer."
            raise GatewayError(503, "state_is_away", message, retry_after_s=2) from error
        return {"model": model, **timeline(latest, changes)}
