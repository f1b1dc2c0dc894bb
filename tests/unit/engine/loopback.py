"""An ASGI application behind a real uvicorn on this machine, as an engine's server is."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import uvicorn

from engine.guard import Application

DEADLINE_S = 8.0


class Server(uvicorn.Server):
    """Leaves the test's own signal handlers alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass
class Serving:
    server: Server
    port: int
    running: asyncio.Task[None]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def shut_down(self) -> None:
        """As SIGTERM does it: wait for every answer to end."""
        self.server.should_exit = True
        async with asyncio.timeout(DEADLINE_S):
            await self.running


@asynccontextmanager
async def serving(app: Application, http: str = "httptools") -> AsyncIterator[Serving]:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=http, access_log=False, log_level="critical")  # type: ignore[arg-type]
    server = Server(config)
    running = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not server.started:
                await asyncio.sleep(0.005)
        yield Serving(server, listening.getsockname()[1], running)
    finally:
        server.force_exit = server.should_exit = True
        await running
