"""The connections that clients have open, and how they all come to an end."""

import asyncio
from typing import Protocol


class ClientConnection(Protocol):
    def leave(self) -> None:
        """Close after the current answer, or before the next request if nothing is being asked."""

    def drop(self) -> None:
        """Close now."""


class ClientConnections(set[ClientConnection]):
    """The open connections of one server."""

    def __init__(self) -> None:
        super().__init__()
        self.are_leaving = False
        self._waiting: list[asyncio.Future[None]] = []

    def leave(self) -> None:
        """Each closes after an answer whose head says so, or when its client has long been silent: no request is lost
        to a connection that closes as it comes.
        """
        self.are_leaving = True
        for connection in list(self):
            connection.leave()

    def remove_closed(self, connection: ClientConnection) -> None:
        self.discard(connection)
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
