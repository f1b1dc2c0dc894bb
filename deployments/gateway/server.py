"""A gateway's own listening socket: several processes share the port, and draining finishes what is running."""

import asyncio
import contextlib
import socket
from collections.abc import Collection, Sequence

from deployments.gateway.app import GatewayApp
from deployments.gateway.catalogue import Catalogue
from deployments.gateway.feed import Feeds
from deployments.gateway.http_server import ClientConnection, ClientConnections
from deployments.gateway.replica_table import ReplicaInfo, ReplicaTable
from deployments.gateway.settings import GatewaySettings

BACKLOG = 2048
LAST_WORDS_S = 1.0


class Gateway:
    """One gateway process. Created and used on one running event loop, uvloop for speed."""

    def __init__(self, settings: GatewaySettings, replicas: ReplicaTable, catalogue: Catalogue) -> None:
        self.settings = settings
        self.app = GatewayApp(lambda: self.settings, replicas, catalogue)
        self._replicas = replicas
        self._feeds = Feeds(self.app.routers.gateway_id, self.app.routers)
        self._connections = ClientConnections()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> None:
        """Raises:
        OSError: the address cannot be bound.
        """
        self._server = await asyncio.get_running_loop().create_server(
            lambda: ClientConnection(self.app.handle, lambda: self.settings, self._connections),
            sock=listening_socket(host, port, shared=True),
            backlog=BACKLOG,
        )

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

    @property
    def bound_port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def is_serving(self) -> bool:
        return self._server is not None and self._server.is_serving()

    async def drain(self, deadline_s: float) -> None:
        """Stop accepting, let requests in flight finish, drop what is left at the deadline.

        What still waits for a replica then is told so a little earlier: there is time for another gateway.
        """
        self.app.draining = True
        if self._server is not None:
            self._server.close()
        self._connections.shut_down()
        last_words = asyncio.get_running_loop().call_later(deadline_s - LAST_WORDS_S, self.app.room.close)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                await self._connections.emptied()
        last_words.cancel()
        for connection in list(self._connections):
            connection.drop()
        await self._feeds.close()
        self.app.close()


def listening_socket(host: str, port: int, *, shared: bool) -> socket.socket:
    """A bound TCP socket; with `shared`, other processes of ours may bind the same port (SO_REUSEPORT).

    Raises:
        OSError: taken by somebody else, or not an address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound
