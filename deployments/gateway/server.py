"""A gateway's own listening socket: several processes share the port, and draining finishes what is running."""

import asyncio
import contextlib
from collections.abc import Collection, Sequence

from deployments.gateway.app import GatewayApp
from deployments.gateway.browsers import Browsers
from deployments.gateway.catalogue import Catalogue
from deployments.gateway.certificate import Certificate
from deployments.gateway.client_connections import ClientConnections
from deployments.gateway.feed import Feeds
from deployments.gateway.freed_memory import return_freed_memory
from deployments.gateway.http_server import ClientConnection
from deployments.gateway.listener import listening_socket, stop_listening
from deployments.gateway.local_address import is_local
from deployments.gateway.replica_table import ReplicaInfo, ReplicaTable
from deployments.gateway.settings import GatewaySettings
from deployments.gateway.tenants.door import Door
from deployments.gateway.tenants.keyring import Keyring

BACKLOG = 2048
LAST_WORDS_S = 1.0


class Gateway:
    """One gateway process. Created and used on one running event loop, uvloop for speed."""

    def __init__(
        self,
        settings: GatewaySettings,
        replicas: ReplicaTable,
        catalogue: Catalogue,
        keyring: Keyring,
        certificate: Certificate | None = None,
    ) -> None:
        self.settings = settings
        self._certificate = certificate
        self._is_local = False
        door = Door(
            keyring,
            lambda: self.settings.require_keys == "always" or not self._is_local,
            good_for_s=lambda: self.settings.keys_good_for_s,
        )
        self.app = GatewayApp(lambda: self.settings, replicas, catalogue, door)
        self._browsers = Browsers(self.app.handle, lambda: self.settings)
        self._replicas = replicas
        self._feeds = Feeds(self.app.routers.gateway_id, self.app.routers, self.app.tally)
        self._connections = ClientConnections()
        self._server: asyncio.Server | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._following_recipes: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> None:
        """Raises:
        OSError: the address cannot be bound.
        """
        return_freed_memory()
        self._is_local = is_local(host)
        await asyncio.to_thread(self.app.recipes.shelf.refresh)
        self._listener = listening_socket(host, port, shared=True)
        self._server = await asyncio.get_running_loop().create_server(
            lambda: ClientConnection(
                self._browsers.handle, lambda: self.settings, self._connections, self.app.door.refusal
            ),
            sock=self._listener,
            backlog=BACKLOG,
            ssl=self._certificate.context if self._certificate else None,
            ssl_handshake_timeout=self.settings.request_timeout_s if self._certificate else None,
        )
        if self._certificate is not None:
            self._renewing = asyncio.create_task(self._certificate.follow())
        self._following_recipes = asyncio.create_task(self.app.recipes.shelf.follow())

    def set_replicas(self, model: str, replicas: Sequence[ReplicaInfo]) -> None:
        """The replicas that `model` has from now on; what other gateways have on them is followed."""
        self._replicas.update(model, replicas)
        self.app.routers.named(model).keep(self._replicas.of(model))
        self._feeds.watch(model, replicas)
        self.app.room.call_first(model)

    def keep_models(self, names: Collection[str]) -> None:
        for gone in self._replicas.all().keys() - set(names):
            self.set_replicas(gone, ())
        self.app.routers.keep_models(names)
        self.app.room.call_all()
        self.app.room.keep_models(names)

    @property
    def bound_port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def is_serving(self) -> bool:
        return self._server is not None and self._server.is_serving()

    async def drain(self, deadline_s: float) -> int:
        """Take no more connections, let each end after an answer, drop what is left at the deadline; how many.

        What still waits for a replica then is told so a little earlier: there is time for another gateway.
        """
        self.app.draining = True
        self._connections.leave()
        if self._server is not None and self.is_serving:
            await stop_listening(self._listener, self._server)
        last_words = asyncio.get_running_loop().call_later(deadline_s - LAST_WORDS_S, self.app.room.close)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                await self._connections.emptied()
        last_words.cancel()
        return await self.close()

    async def close(self) -> int:
        """Drop every connection; how many there were."""
        if self._server is not None:
            self._server.close()
        left = list(self._connections)
        for connection in left:
            connection.drop()
        for following in (self._renewing, self._following_recipes):
            if following is not None:
                following.cancel()
        await self._feeds.close()
        self.app.close()
        return len(left)
