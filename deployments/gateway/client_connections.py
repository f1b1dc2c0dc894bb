"""The connections that clients have open, how many there may be, and how they all come to an end."""

import asyncio
import logging
import resource
import time
from typing import Protocol

logger = logging.getLogger(__name__)

CLIENTS_SHARE = 0.75
WARNING_PERIOD_S = 60.0


class ClientConnection(Protocol):
    @property
    def is_answering(self) -> bool:
        """Whether a whole request of it has come that is not answered yet."""

    def leave(self) -> None:
        """Close after the current answer, or before the next request if nothing is being asked."""

    def drop(self) -> None:
        """Close now."""


class ClientConnections(dict[ClientConnection, None]):
    """The open connections of one server, oldest first.

    At `most` of them the oldest that nothing is answered on makes room: who opens connections and asks for nothing, or
    asks slowly, keeps nobody else out, and leaves file descriptors for engines.
    """

    def __init__(self, most: int | None = None) -> None:
        super().__init__()
        self.most = most_connections() if most is None else most
        self.are_leaving = False
        self._waiting: list[asyncio.Future[None]] = []
        self._warned_s = -WARNING_PERIOD_S

    def add(self, connection: ClientConnection) -> None:
        self[connection] = None
        if len(self) > self.most:
            self._make_room()

    def _make_room(self) -> None:
        dropped = next((one for one in self if not one.is_answering), None)
        if dropped is not None:
            self.pop(dropped)
            dropped.drop()
        now_s = time.monotonic()
        if now_s - self._warned_s >= WARNING_PERIOD_S:
            self._warned_s = now_s
            logger.warning("%d connections are open: the oldest that ask for nothing are closed", self.most)

    def leave(self) -> None:
        """Each closes after an answer whose head says so, or when its client has long been silent: no request is lost
        to a connection that closes as it comes.
        """
        self.are_leaving = True
        for connection in list(self):
            connection.leave()

    def remove_closed(self, connection: ClientConnection) -> None:
        self.pop(connection, None)
        if not self:
            for future in self._waiting:
                if not future.done():
                    future.set_result(None)

    async def emptied(self) -> None:
        """Wait until no connection is open."""
        while self:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future


def most_connections() -> int:
    """A share of the files that this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return int(soft * CLIENTS_SHARE) if soft != resource.RLIM_INFINITY else 1_000_000
